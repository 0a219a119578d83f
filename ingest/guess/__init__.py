"""What an unknown export may mean: `python -m ingest map`."""
