"""Programs to read and to run: `python -m examples.quickstart`, `examples.timeouts`, `examples.films`."""
