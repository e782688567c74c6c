"""Columns by name: a table that has those of training in another order is read in their order."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from isthmus.errors import InputError
from isthmus.examples import Examples
from isthmus.wording import join_names, pluralize


def in_training_order(rows: Examples, names: Sequence[str], path: str = "") -> Examples:
    """Rows whose columns are in the order of `names`; what belongs to each value follows its column.

    A target and a mask with the same names as the rows are ordered by their own, without names as the rows.

    Args:
        rows: of any kind; only tables, whose columns have names, are compared.
        names: of the columns in training; empty if they had none or are these.
        path: of the file that the rows were read from, for the advice of the error.

    Raises:
        InputError: for other columns than in training.
    """
    given = names_of(rows.x)
    if not given:
        return rows
    names = list(names) or given
    if given != names and sorted(given) != sorted(names):
        raise other_columns(given, names, path)
    order = positions(given, names)
    beside = {}
    for field in ("target", "observed"):
        values = getattr(rows, field)
        own = names_of(values)
        if sorted(own) == sorted(names):
            beside[field] = taken(values, positions(own, names))
        elif tuple(getattr(values, "shape", ())) == rows.x.shape:  # another one is refused where shapes are compared
            beside[field] = taken(values, order)
    return replace(rows, x=taken(rows.x, order), **beside)


def names_of(table: Any) -> list[str]:
    """The names of the columns of a table, as text; none of anything else."""
    return [str(name) for name in getattr(table, "columns", ())]


def positions(given: list[str], names: list[str]) -> list[int] | None:
    """Where each of the names stands among the given ones; None if all are in place."""
    place = {name: j for j, name in enumerate(given)}
    return None if given == names else [place[name] for name in names]


def taken(values: Any, order: list[int] | None) -> Any:
    """Columns of a table or an array in this order."""
    if order is None:
        return values
    return values.iloc[:, order] if hasattr(values, "iloc") else values[:, order]


def other_columns(given: Sequence[str], names: Sequence[str], path: str = "") -> InputError:
    """The error for a table without some columns of training, or with others."""
    known, there = set(names), set(given)
    missing, others = [name for name in names if name not in there], [name for name in given if name not in known]
    if not missing and not others:
        return InputError("X must have unique column names.")
    got = [f"{len(missing):,} missing ({join_names(missing)})"] if missing else []
    got += [f"{len(others):,} others ({join_names(others)})"] if others else []
    python = f"isthmus.read({path!r}, drop=[...])" if path else "X[list(model.feature_names_in_)]"
    drop = f"{python}, in the command line --drop {shlex.join(others[:5])}{' ...' * (len(others) > 5)}"
    advice = "Add or rename what is missing" if missing else f"Leave the others out: {drop}"
    return InputError(
        f"X must have the {pluralize(len(names), 'column')} of training, got {' and '.join(got)}. {advice}."
    )
