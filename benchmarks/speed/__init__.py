"""How fast trioorm is beside psycopg and asyncpg: contenders interleaved in one run, compared round by round.

    make bench
    make bench ARGS="--rounds 3 --operations 300"

What is measured is the client's CPU time for one operation, which is steadier than wall time on a shared machine. Only ratios within one
run mean anything.
"""
