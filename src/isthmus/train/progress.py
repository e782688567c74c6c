"""A progress bar with the loss's terms and the time left."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn


class Bar:
    """Call it with the share done and the terms, nats; on something that is not a terminal it prints now and then."""

    def __init__(self, console: Console | None = None):
        self.console = console or Console(stderr=True)
        self.progress = Progress(
            TextColumn("training"),
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
            self.progress.start()
            self.task = self.progress.add_task("", total=1.0)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None):
        if self.console.is_terminal:
            if kind is None:  # also where training stopped early
                self.progress.update(self.task, completed=1.0)
            self.progress.stop()

    def __call__(self, share: float, values: dict[str, float], seconds: float) -> None:
        if self.first is None:  # a resumed run does not start at 0
            self.first, self.started = share, time.monotonic()
            if self.console.is_terminal:
                self.progress.reset(self.task, completed=share)  # type: ignore[arg-type]  # any number will do
        hidden = ("epoch", "step", "progress", "seconds")
        shown = {k: v for k, v in values.items() if k not in hidden and not k.startswith(("weight_", "valid_"))}
        if "valid_loss" in values:
            shown["valid"] = values["valid_loss"]
        terms = "  ".join(f"{name} {value:.2f}" for name, value in shown.items())
        if self.console.is_terminal:
            self.progress.update(self.task, completed=share, description=terms)
        elif share - self.printed >= 0.1 or share == 1.0:
            self.printed = share
            words = f"training {share:4.0%}  {terms}"
            if share > self.first:
                words += f"  {(time.monotonic() - self.started) * (1 - share) / (share - self.first):.0f} s left"
            self.console.print(words, highlight=False)
