"""What loading graphs costs: a film beside asyncpg by hand, a page of films beside the server's own time, a large graph in memory.

python -m benchmarks.loading
"""
