"""Columns by name: a table that has those of training in another order is read in their order."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from isthmus.errors import InputError
from isthmus.examples import Examples
from isthmus.wording import join_names, pluralize


def in_training_order(rows: Examples, names: Sequence[str]) -> Examples:
    """Rows whose columns are in the order of `names`; what belongs to each value follows its column.

    Args:
        rows: of any kind; only tables whose columns all have names are compared.
        names: of the columns in training; empty if they had none.

    Raises:
        InputError: for other columns than in training.
    """
    x = rows.x
    given = list(getattr(x, "columns", ()))
    if not names or not given or given == list(names) or not all(isinstance(name, str) for name in given):
        return rows
    if sorted(given) != sorted(names):
        raise other_columns(given, names)
    place = {name: j for j, name in enumerate(given)}
    order = [place[name] for name in names]

    def ordered(values: Any) -> Any:
        if tuple(getattr(values, "shape", ())) != x.shape:  # refused where shapes are compared
            return values
        return values.iloc[:, order] if hasattr(values, "iloc") else values[:, order]

    beside = {name: ordered(getattr(rows, name)) for name in ("target", "observed")}
    return replace(rows, x=x.iloc[:, order], **beside)


def other_columns(given: Sequence[str], names: Sequence[str]) -> InputError:
    """The error for a table without some columns of training, or with others."""
    known, there = set(names), set(given)
    missing, others = [name for name in names if name not in there], [name for name in given if name not in known]
    if not missing and not others:
        return InputError("X must have unique column names.")
    got = [f"{len(missing):,} missing ({join_names(missing)})"] if missing else []
    got += [f"{len(others):,} others ({join_names(others)})"] if others else []
    drop = f"X[list(model.feature_names_in_)], in the command line --drop {shlex.join(others[:5])}"
    advice = "Add or rename what is missing" if missing else f"Leave the others out: {drop}{' ...' * (len(others) > 5)}"
    return InputError(
        f"X must have the {pluralize(len(names), 'column')} of training, got {' and '.join(got)}. {advice}."
    )
