"""What a run leaves behind: tables beside the marts, saved models, files and the registry of runs."""
