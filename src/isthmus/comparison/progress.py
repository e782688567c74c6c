"""A progress bar over all runs of a comparison."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

ProgressUpdate = Callable[[int, str, float], None]
"""Called with the number of finished runs, the name of the current one, and the share of it that is done."""


def no_progress(done: int, name: str, share: float) -> None:
    """A `ProgressUpdate` that shows nothing."""


@contextlib.contextmanager
def progress_bar(total: int, console: Console | None = None) -> Iterator[ProgressUpdate]:
    """A progress bar on a terminal; elsewhere, a line at the start of each run."""
    console = console or Console(stderr=True)
    if not console.is_terminal:
        started: set[int] = set()

        def print_line(done: int, name: str, share: float) -> None:
            if done < total and done not in started:
                started.add(done)
                console.print(f"run {done + 1} of {total}: {name}", highlight=False, markup=False)

        yield print_line
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        task, first = progress.add_task("", total=float(total)), True

        def update(done: int, name: str, share: float) -> None:
            nonlocal first
            text = f"run {min(done + 1, total)} of {total}: {name}" if name else f"{total} runs"
            if first:  # runs read from files must not count in the estimate of the remaining time
                progress.reset(task, completed=done)
                first = False
            progress.update(task, completed=done + share, description=escape(text))

        yield update
