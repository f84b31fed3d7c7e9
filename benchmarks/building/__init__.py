"""What it costs to build a statement and to make it ready to send, when its plan is there already.

Run it with `python -m benchmarks.building`. No server is needed.
"""
