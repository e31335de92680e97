"""`python -m export.certification BUNDLE ...`: the same as `beamstep verify BUNDLE ...`."""

import typer

from export.certification.command import verify

if __name__ == "__main__":
    typer.run(verify)
