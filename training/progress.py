"""What a run says while it goes: a progress bar on a terminal, plain lines elsewhere."""

import time
from collections.abc import Collection

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

Line = dict[str, float | int | str]

LINE_EVERY_S = 30.0
"""Seconds between plain lines."""


class Reporter:
    """Shows how training goes, and keeps the means since the last validation."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar: Progress | None = None
        self._steps = 0
        self._last_line_at = time.monotonic()
        self._forget_means()

    def start(self, steps: int, step: int) -> None:
        """Begin a run of `steps`, of which `step` are done."""
        self._steps = steps
        if self._console.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
            self._bar = Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=self._console)
            self._task = self._bar.add_task("training", total=steps, completed=step)
            self._bar.start()

    def update(self, step: int, epoch: int, loss: float, learning_rate: float, tokens: int) -> None:
        """Report one update; `loss` is a mean in nats a token."""
        self._losses += loss
        self._updates += 1
        self._tokens += tokens
        if self._bar is not None:
            self._bar.update(self._task, completed=step, description=f"epoch {epoch} loss {loss:.3f}")
        elif time.monotonic() - self._last_line_at >= LINE_EVERY_S:
            self._last_line_at = time.monotonic()
            means = self.training_means()
            self._console.print(
                f"{time.strftime('%H:%M:%S')} step {step}/{self._steps} epoch {epoch} loss {means['training_loss']:.3f} "
                f"learning rate {learning_rate:.2e} target tokens/s {means['tokens_per_second']:.0f}",
                soft_wrap=True,
            )

    def training_means(self) -> Line:
        """Return the mean smoothed loss and the target tokens a second since the last validation."""
        seconds = max(1e-9, time.monotonic() - self._since)
        return {
            "training_loss": round(self._losses / max(1, self._updates), 4),
            "tokens_per_second": round(self._tokens / seconds, 1),
        }

    def validated(self, line: Line, metrics: Collection[str] = ()) -> None:
        """Report a validation, of the weights in training or of their average; `metrics` are names in it to be told."""
        training = f", training loss {line['training_loss']:.3f}" if "training_loss" in line else ""
        told = "".join(f", {name} {line[name]:.2f}" for name in metrics)
        self._console.print(
            f"{time.strftime('%H:%M:%S')} {line['kind']} at step {line['step']}: loss {line['loss']:.4f}, "
            f"perplexity {line['perplexity']:.2f}, token accuracy {line['token_accuracy']:.1f} %{told}{training}",
            soft_wrap=True,
        )
        self._forget_means()

    def stop(self) -> None:
        """End the report."""
        if self._bar is not None:
            self._bar.stop()

    def _forget_means(self) -> None:
        self._losses, self._updates, self._tokens = 0.0, 0, 0
        self._since = time.monotonic()
