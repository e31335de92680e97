"""`python -m export.evaluation BUNDLE ...`: the same as `beamstep evaluate BUNDLE ...`."""

import typer

from export.evaluation.command import evaluate

if __name__ == "__main__":
    typer.run(evaluate)
