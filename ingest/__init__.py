"""Raw events in: `python -m ingest load` and `python -m ingest synth`."""
