"""Models beside each other on the same rows, with the same budget and the same seeds."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from isthmus import __version__
from isthmus.atomic_io import write_json
from isthmus.comparison import run_cache
from isthmus.comparison.curve import draw_curve
from isthmus.comparison.progress import Follow, following
from isthmus.comparison.run_one import exact, prepared, trial
from isthmus.comparison.specs import OF_THE_SPLIT, Entry, checked_sweep, entries
from isthmus.comparison.split import Split, split
from isthmus.comparison.table import Table, tabled
from isthmus.data import Dataset
from isthmus.errors import InputError, Interrupted
from isthmus.estimators.base import Estimator
from isthmus.examples import Examples
from isthmus.metrics.importance_weighting import group_sizes
from isthmus.persistence.serialization import plain
from isthmus.schema import safe_std
from isthmus.wording import pluralize

DRAWS = 1000
MODELS = ("pca", "ae", "vae")
VALIDATED = 0.1
"""Share of the rows left over by the test by which the best weights are chosen."""

UNEVEN = 10.0
"""Ratio of the columns' standard deviations from which it is said that the largest rule the squared error."""


def compare(
    X: Any,
    y: Any = None,
    *,
    models: str | Iterable[str | Estimator] = MODELS,
    seeds: int = 5,
    sweep: Mapping[str, Sequence[Any]] | None = None,
    lengths: Any = None,
    draws: int = DRAWS,
    folder: str | Path | None = None,
    force: bool = False,
    verbose: bool = False,
    **fields: Any,
) -> Table:
    """Train every model with every seed and measure all on the same rows; PCA is always among them.

    `X` is rows (n, *X), or a `Dataset` whose own validation and test rows are used; `y` (n,) are labels, read by probes
    and given to conditional models. `models` are names, names with fields (`vae(beta=4)`) or estimators; `fields` are
    those of all models, and what a model sets itself stands. A `random_state` is the first of the seeds. `sweep` is one
    field with its values, e.g. {"latent_dim": [2, 4, 8]}. With `folder` every finished run is kept, and the same call
    goes on where it was broken off; more models and seeds may be added, `force` begins anew. Raises InputError for
    unknown models and fields, for fields that no model can be made of and for a folder that holds something else.
    """
    data = X if isinstance(X, Dataset) else Dataset("X", Examples(X, y, lengths=lengths))
    if len(group_sizes(draws)) < 2:
        raise InputError(f"draws={draws} came; two at least are wanted, whose difference tells how sure a figure is")
    if not isinstance(seeds, int) or isinstance(seeds, bool) or seeds < 1:
        raise InputError(f"seeds={seeds!r} came; a whole number of at least 1 is wanted")
    fraction = fields.pop(OF_THE_SPLIT, VALIDATED)
    if not isinstance(fraction, int | float) or not 0 <= fraction < 1:
        raise InputError(f"{OF_THE_SPLIT}={fraction!r} came; a share from 0 to 1 is wanted")
    values = checked_sweep(sweep)
    chosen = entries(models, fields, values, linear=data.train.lengths is None)
    for entry in chosen:
        if data.levels is not None and entry.estimator.levels is None:
            entry.estimator.set_params(levels=data.levels)  # a built-in set knows what its numbers mean
    rows = split(data, fraction)
    check_entries(chosen, rows)
    path = None if folder is None else Path(folder)
    tasks = tasks_of(chosen, seeds, path)
    if path is not None:
        settings = {"rows": rows.fingerprint, "draws": draws, "fields": plain(fields), "version": __version__}
        run_cache.opened(path, settings, force=force)
    records = run_all(tasks, rows, draws, verbose)
    order = {(entry.label, repr(plain(entry.value))): i for i, entry in enumerate(chosen)}
    records.sort(key=lambda record: order[record["model"], repr(record["value"])])
    table = tabled(records, about(data, rows, records, seeds), values[0] if values else None)
    if path is not None:
        if values:
            table.facts["curve"] = str(draw_curve(table, path / run_cache.CURVE))
        write_json(path / run_cache.TABLE, table.to_dict())
    return table


def check_entries(chosen: list[Entry], rows: Split) -> None:
    """Raise InputError for a model that cannot be made of its fields, before anything is trained.

    PCA of sequences is no mistake of the user's, for it is always there: its row says why it has none.
    """
    for entry in chosen:
        if exact(entry.estimator) and rows.train.lengths is not None:
            continue
        try:
            prepared(entry, rows, 0)
        except InputError as error:
            raise InputError(f"{entry.label}: {error}") from None


class Task(NamedTuple):
    """A run to be done, and the file that it is kept in."""

    entry: Entry
    seed: int
    file: Path | None

    def __str__(self) -> str:
        value = "" if self.entry.value is None else f" at {self.entry.value}"
        return f"{self.entry.label}{value}, seed {self.seed}"


def tasks_of(chosen: list[Entry], seeds: int, folder: Path | None) -> list[Task]:
    """Every model with every seed, seed by seed; what is solved exactly only once."""
    return [
        Task(entry, seed, None if folder is None else run_cache.file_of(folder, entry, seed))
        for seed in range(seeds)
        for entry in chosen
        if seed == 0 or not exact(entry.estimator)
    ]


def run_all(tasks: list[Task], rows: Split, draws: int, verbose: bool) -> list[dict[str, Any]]:
    """Every run, those that are done from their files; Interrupted on Ctrl-C where they are kept."""
    records: list[dict[str, Any]] = []
    try:
        with following(len(tasks)) if verbose else contextlib.nullcontext(unseen) as follow:
            for task in tasks:
                records.append(known(task) or one_run(task, rows, draws, len(records), follow))
            follow(len(tasks), "", 0.0)
    except KeyboardInterrupt:
        if tasks[0].file is None:
            raise
        raise Interrupted(f"stopped; {len(records)} of {pluralize(len(tasks), 'run')} are done and kept") from None
    return records


def known(task: Task) -> dict[str, Any] | None:
    """A run that is done; it may be known under another name in a table of other models."""
    record = None if task.file is None else run_cache.read_run(task.file)
    return record and {**record, "model": task.entry.label}


def one_run(task: Task, rows: Split, draws: int, done: int, follow: Follow) -> dict[str, Any]:
    """Train and measure one model with one seed, and keep what came out where there is a folder."""
    follow(done, str(task), 0.0)

    def show(share: float, values: dict[str, float], seconds: float) -> None:
        follow(done, str(task), share)

    keep = None if task.file is None else run_cache.keep_of(task.file)
    record = plain(trial(task.entry, rows, task.seed, draws, keep, show))
    if task.file is not None:
        run_cache.write_run(task.file, record)
    return record


def unseen(done: int, what: str, share: float) -> None:
    """Nobody watches."""


def about(data: Dataset, rows: Split, records: list[dict[str, Any]], seeds: int) -> dict[str, Any]:
    """Data, rows and budget, in words and numbers."""
    budgets: dict[tuple[int, int], list[str]] = {}
    for record in records:
        if "epochs" in record and not record["exact"]:
            models = budgets.setdefault((record["epochs"], record["batch_size"]), [])
            models += [record["model"]] if record["model"] not in models else []
    each = {models: f"{e:,} epochs in batches of {b:,}" for (e, b), m in budgets.items() for models in [", ".join(m)]}
    said = "; ".join(f"{models} {budget}" for models, budget in each.items())
    said = f"not the same: {said}" if len(budgets) > 1 else next(iter(each.values()), "none: solved exactly")
    return {
        "data": data.source,
        "rows": {
            "train": len(rows.train.x),
            "validation": 0 if rows.valid is None else len(rows.valid.x),
            "test": len(rows.test.x),
        },
        "features": int(np.prod(rows.train.x.shape[1:])),
        "uneven": uneven(rows),
        "split": rows.words,
        "fingerprint": rows.fingerprint,
        "budget": f"at most {said}" if len(budgets) == 1 else said,
        "seeds": seeds,
    }


def uneven(rows: Split) -> bool:
    """Whether columns of a table differ so much in scale that the largest rule a squared error in the data's units."""
    x = np.asarray(rows.train.x)
    if x.ndim != 2 or x.dtype.kind != "f":
        return False
    scale = safe_std(x)
    return bool(scale.max() > UNEVEN * scale.min())
