"""How fast many rows travel: trioorm beside asyncpg, contenders interleaved in one run, compared round by round.

    python -m benchmarks.bulk
    python -m benchmarks.bulk --rounds 3 --only fetch --only stream

What is measured is the client's CPU time, as in `benchmarks.speed`. Only ratios within one run mean anything.
"""
