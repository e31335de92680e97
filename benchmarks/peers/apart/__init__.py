"""What runs in environments of its own, beside packages that this project does not install: benchmarks/peers/environments.

These modules import each other, `plain_server`, the stubs, and what their environment holds; of this project nothing else.
"""
