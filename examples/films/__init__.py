"""17,472 real films in a real PostgreSQL, under Trio and then under asyncio: `python -m examples.films`.

Read in this order: `models` (what is stored), `source` (where it comes from), `load` (COPY), `questions` (typed queries), `transactions`
(a nursery that commits, and one that is cancelled), `rates`, and `demo`, which calls them all. `console` only draws.
"""
