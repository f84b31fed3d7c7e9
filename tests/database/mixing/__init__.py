"""Every way of asking, in any order and nesting, against a model in plain Python.

`shop` has the tables and the model, `reads`, `writes`, `failures` and `psycopg_ways` the ways of asking, `program` what is made of them.
"""
