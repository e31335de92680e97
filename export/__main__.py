"""`python -m export RUN`: the same as `beamstep export RUN`."""

import typer

from export.command import export

if __name__ == "__main__":
    typer.run(export)
