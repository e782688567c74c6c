"""The progress of training: what a callback receives, and a bar with the loss's terms and the time left."""

from __future__ import annotations

import contextlib
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

from isthmus.callbacks import TAGS, FitState

if TYPE_CHECKING:
    from rich.console import Console

CRITIC_WINS = {"adversarial": 0.35, "factor": 0.35, "gan": 0.05}
"""Loss of a critic (nats) below which it wins, by the term that it plays in: it is right with probability 0.84; one of
rows, which tells most decoded rows, with 0.975."""
CRITIC_GUESSES = 1.35
"""Loss above which it knows nothing: guessing costs 2 log 2 = 1.39."""
PRINT_INTERVAL = 0.1
"""Fraction of training between two lines, where the output is not a terminal."""


class ProgressCallback(Protocol):
    """Called a few times a second during training."""

    def __call__(self, progress: float, values: dict[str, float], seconds: float, /) -> None:
        """Report progress in [0, 1], the means of the loss and its terms in nats, and the seconds so far."""


def terms_of(record: Mapping[str, Any]) -> str:
    """The loss, its terms and the validation loss of a record as text, nats.

    >>> terms_of({"epoch": 1, "loss": 3.0, "nll": 2.0, "weight_kl": 0.5, "valid_loss": 3.25, "kept_start": True})
    'loss 3.00  nll 2.00  valid 3.25'
    >>> terms_of({"loss": 3.0, "factor": 1.0, "critic_loss": 0.12})
    'loss 3.00  factor 1.00  critic_loss 0.12 (the critic wins)'
    """
    shown = {
        name: value
        for name, value in record.items()
        if name not in TAGS and not name.startswith(("weight_", "valid_")) and not isinstance(value, bool)
    }
    if "valid_loss" in record:
        shown["valid"] = record["valid_loss"]
    sides = {"critic_loss": winning_side(record)}
    return "  ".join(f"{name} {value:.2f}{sides.get(name, '')}" for name, value in shown.items())


def winning_side(record: Mapping[str, Any]) -> str:
    """Which side of a game wins, as words to be put behind its critic's loss; empty where neither does.

    Only of one known game: a critic of the user's may have a loss of another scale, and two have a sum.
    """
    games, loss = [name for name in CRITIC_WINS if name in record], record.get("critic_loss", math.nan)
    if len(games) != 1:
        return ""
    if loss < CRITIC_WINS[games[0]]:
        return " (the critic wins)"
    return " (the critic guesses)" if loss > CRITIC_GUESSES else ""


class EpochLines:
    """A callback that prints a line for each epoch on standard error."""

    def on_epoch_end(self, state: FitState) -> None:
        """Print the epoch's losses and the seconds so far."""
        seconds = f"{state.record['seconds']:.1f} s"
        print(f"epoch {state.epoch}/{state.epochs}  {terms_of(state.record)}  {seconds}", file=sys.stderr)


class ProgressBar:
    """A progress callback and context manager that shows a bar, or prints lines where there is no terminal.

    Args:
        label: what is done, in one word.
        console: where it is shown; standard error by default.
    """

    def __init__(self, label: str = "training", console: Console | None = None):
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

        self.label, self.console = label, console or Console(stderr=True)
        self.bar = Progress(
            TextColumn(label),
            BarColumn(),
            TaskProgressColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.description}"),
            console=self.console,
            transient=False,
        )
        self.printed, self.started = 0.0, time.monotonic()
        self.first: float | None = None

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self.bar.start()
            self.task = self.bar.add_task("", total=1.0)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None):
        if self.console.is_terminal:
            if kind is None:  # also where training stopped early
                self.bar.update(self.task, completed=1.0)
            self.bar.stop()

    def show(self, progress: float) -> None:
        """Show the share of the work that is done."""
        self(progress, {}, 0.0)

    def __call__(self, progress: float, values: dict[str, float], seconds: float) -> None:
        if self.first is None:  # a resumed run does not start at 0
            self.first, self.started = progress, time.monotonic()
            if self.console.is_terminal:
                self.bar.reset(self.task, completed=progress)  # type: ignore[arg-type]  # floats work too
        terms = terms_of(values)
        if self.console.is_terminal:
            self.bar.update(self.task, completed=progress, description=terms)
        elif progress - self.printed >= PRINT_INTERVAL or progress == 1.0:
            self.printed = progress
            line = f"{self.label} {progress:4.0%}  {terms}".rstrip()
            if progress > self.first:
                seconds_left = (time.monotonic() - self.started) * (1 - progress) / (progress - self.first)
                line += f"  {seconds_left:.0f} s left"
            self.console.print(line, highlight=False)


@contextlib.contextmanager
def progress_of(label: str, shown: bool) -> Iterator[Callable[[float], None] | None]:
    """A function that shows the share of the work that is done as a bar, or None if it is not to be shown."""
    if not shown:
        yield None
        return
    with ProgressBar(label) as bar:
        yield bar.show
