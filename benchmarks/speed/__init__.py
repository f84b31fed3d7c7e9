"""How fast trioorm is beside its peers: contenders interleaved in one run, compared round by round.

    make bench                                            # all of it; rewrites the figures in README.md and docs/
    make bench ARGS="--workload get --against asyncpg"    # a quick look; writes nothing
    make bench-quick                                      # psycopg and asyncpg on five workloads, in under three minutes

Every contender must give equal rows and leave equal tables before anything is timed. What is compared is the client's CPU time for one
operation, which is steadier than wall time on a shared machine. Only ratios within one run mean anything.

Where to find things: `contender.py` says what a contender does, `contenders/` holds one file for each, `tables.py` the data,
`workloads.py` what is asked of them, `measuring.py` how it is timed.
"""
