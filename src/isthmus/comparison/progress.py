"""A progress bar over all runs of a comparison."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

Follow = Callable[[int, str, float], None]
"""Told how many runs are done, which one is under way, and what share of it."""


@contextlib.contextmanager
def following(total: int, console: Console | None = None) -> Iterator[Follow]:
    """A bar on a terminal; elsewhere a line when a run begins."""
    console = console or Console(stderr=True)
    if not console.is_terminal:
        told: set[int] = set()

        def say(done: int, what: str, share: float) -> None:
            if done < total and done not in told:
                told.add(done)
                console.print(f"run {done + 1} of {total}: {what}", highlight=False, markup=False)

        yield say
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        task, first = progress.add_task("", total=float(total)), True

        def move(done: int, what: str, share: float) -> None:
            nonlocal first
            words = f"run {min(done + 1, total)} of {total}: {what}" if what else f"{total} runs"
            if first:  # what was done before is no measure of the time left
                progress.reset(task, completed=done)
                first = False
            progress.update(task, completed=done + share, description=escape(words))

        yield move
