"""`python -m training RECIPE`: the same as `beamstep train RECIPE`."""

import typer

from training.command import train

if __name__ == "__main__":
    typer.run(train)
