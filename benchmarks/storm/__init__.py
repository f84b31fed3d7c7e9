"""The storm: a seeded random load under cancellations, crashes and frozen servers, judged against what the project promises.

`python -m benchmarks.storm --help` tells how to run it; `storm.py` holds the run itself, `bars.py` the promises.
"""
