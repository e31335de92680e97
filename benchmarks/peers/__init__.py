"""The comparison tables: this project beside other ways of doing the same, and beside what the machine can do at all.

A file a table; docs/performance.md has a place for what each gives. docs/benchmarking.md says how to measure a server of yours.
"""
