"""What must not go wrong, tried: a file for each row of the table in docs/reliability.md.

A row is a coroutine that takes its size and returns an `Outcome`. `tests/faults` and `tests/load` run it short; `python -m
benchmarks.faults` runs it long and writes what came out into the page.
"""
