"""What the commands that use a trained model share."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from isthmus.cli.main import Parser, command_parser, note, tell
from isthmus.data import read
from isthmus.errors import InputError
from isthmus.examples import Examples


def rows_parser(name: str) -> Parser:
    """RUN DATA -o FILE."""
    made = command_parser(name)
    made.add_argument("run", metavar="RUN", help="the folder of a trained model")
    made.add_argument("data", metavar="DATA", help="a built-in name (`isthmus data`) or a path")
    made.add_argument("-o", "--output", metavar="FILE", required=True, help=".npz, .npy, .csv or .parquet")
    made.add_argument("--condition", metavar="COLUMN", help="the column of a table that holds the condition")
    made.add_argument("--part", default="all", choices=("all", "train", "valid", "test"), help="which rows of DATA")
    return made


def rows_of(arguments: argparse.Namespace, model: Any) -> tuple[Examples, dict[str, Any]]:
    """The rows asked for, and the condition and lengths that this model wants with them."""
    dataset = read(arguments.data, condition=arguments.condition)
    named = {"train": dataset.train, "valid": dataset.valid, "test": dataset.test}
    parts = [part for name, part in named.items() if part is not None and arguments.part in ("all", name)]
    if not parts:
        raise InputError(f"{arguments.data} has no {arguments.part} rows")
    part = parts[0] if len(parts) == 1 else joined(parts)
    more: dict[str, Any] = {} if part.lengths is None else {"lengths": part.lengths}
    if model.schema_.condition is not None:
        if part.y is None:
            raise InputError(f"{arguments.data} has no labels, which this model wants; name a column with --condition")
        more["condition"] = part.y
    return part, more


def measured_parser(name: str) -> Parser:
    """RUN [DATA], of a command that measures."""
    made = command_parser(name)
    made.add_argument("run", metavar="RUN", help="the folder of a trained model")
    made.add_argument("data", metavar="DATA", nargs="?", help="other data than the run's own test or validation rows")
    made.add_argument("--condition", metavar="COLUMN", help="the column of DATA that holds the condition")
    made.add_argument("--part", default="all", choices=("all", "train", "valid", "test"), help="which rows of DATA")
    made.add_argument("--draws", type=int, default=1000, metavar="K", help="draws a row for log p(x) (default 1000)")
    made.add_argument(
        "--ais",
        type=int,
        nargs="?",
        const=100,
        default=0,
        metavar="ROWS",
        help="anneal the log p(x) of so many rows too (default 100), and bracket it on simulated ones: some minutes",
    )
    return made


@dataclass(frozen=True)
class LoadedRun:
    """A run and the rows that it is measured on."""

    model: Any
    part: Examples
    more: dict[str, Any]
    """The condition and lengths that the model wants with the rows."""
    which: str
    """How many rows, of what."""
    train: Any = None
    """The rows that it was fitted to, where they are known."""
    lacking: str = ""
    """Why they are not."""
    data: str = ""
    """Name or path of the data that it was trained on."""
    condition: str | None = None
    broken: str = ""
    """Why training broke off, where it did."""


def evaluated(case: LoadedRun, arguments: argparse.Namespace) -> Any:
    """The rows measured, as the arguments of `measured_parser` say."""
    from isthmus.evaluation.evaluate import evaluate

    part = case.part
    note(f"measuring {case.which}")
    own = {"draws": arguments.draws, "ais": arguments.ais}
    return evaluate(case.model, part.x, part.y, **case.more, train=case.train, factors=part.factors, **own)


def opened(arguments: argparse.Namespace) -> LoadedRun:
    """The run that was asked for, with its own held-out rows or the rows of DATA."""
    from isthmus.evaluation.splits import held_out
    from isthmus.persistence import run_dir
    from isthmus.persistence.serialization import load, read_config

    folder, known, lacking = Path(arguments.run), None, ""
    config = read_config(folder)
    broken = config.get("broken") or ""
    if arguments.condition is None:
        arguments.condition = (config.get("source") or {}).get("condition")
    try:
        known = run_dir.reopen(folder)
        model = known.estimator
    except InputError as error:
        if arguments.data is None:
            raise InputError(f"{error}; or name other rows after {arguments.run}") from None
        model, lacking = load(folder), f"\nno baselines, for {error}"
    if arguments.data is None:
        assert known is not None
        held = held_out(known)
        part, which, more = held.part, held.which, held.company(model)
    else:
        part, more = rows_of(arguments, model)
        which = f"{len(part.x):,} rows of {arguments.data}"
    if known is None:
        return LoadedRun(model, part, more, which, lacking=lacking, broken=broken)
    data, column = known.source["data"], known.source["condition"]
    return LoadedRun(model, part, more, which, known.job.train_rows, "", data, column, broken)


def joined(parts: list[Examples]) -> Examples:
    """Several parts end to end."""
    import pandas as pd

    arrays: list[Any] = [part.x for part in parts]
    x = pd.concat(arrays) if isinstance(arrays[0], pd.DataFrame) else np.concatenate(arrays)
    return Examples(
        x,
        together([p.y for p in parts]),
        lengths=together([p.lengths for p in parts]),
        factors=together([p.factors for p in parts]),
    )


def together(arrays: list[np.ndarray | None]) -> np.ndarray | None:
    """Arrays end to end, or None where one is missing."""
    known = [array for array in arrays if array is not None]
    return np.concatenate(known) if len(known) == len(arrays) else None


def write(
    arguments: argparse.Namespace, what: str, arrays: dict[str, np.ndarray], names: list[str], model: Any
) -> None:
    """Write the file that was asked for, and say so."""
    from isthmus.export import write_arrays

    path = Path(arguments.output)
    write_arrays(path, arrays, names, model.schema_)
    first = next(iter(arrays.values()))
    shape = " x ".join(map(str, first.shape))
    tell(arguments, {"file": str(path), "rows": len(first), "shape": list(first.shape)}, f"{what}: {shape} to {path}")


def condition_of(text: str | None, model: Any) -> Any:
    """A condition typed as text to one of the model's labels, or to numbers."""
    if text is None:
        return None
    known = model.schema_.condition
    if known is None:
        raise InputError("this model was trained without a condition; leave out --condition")
    if known.classes:
        by_text = {str(label): label for label in known.classes}
        if text not in by_text:
            raise InputError(f"no condition {text!r}; known: {', '.join(by_text)}")
        return by_text[text]
    try:
        return np.asarray([[float(piece) for piece in text.split(",")]])
    except ValueError:
        raise InputError(f"the condition {text!r} is not numbers with commas, which this model wants") from None
