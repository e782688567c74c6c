"""Rows as users have them: arrays, DataFrames, sparse matrices, lists of arrays, torch data sets and paths."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from isthmus.array_checks import as_weight, to_cpu_array
from isthmus.data import Dataset
from isthmus.data.arrays import pad_sequences
from isthmus.data.column_roles import ColumnRoles
from isthmus.data.row_names import without_index
from isthmus.data.sources import read_raw
from isthmus.data.sparse_rows import dense, is_sparse
from isthmus.data.tables import require_numeric
from isthmus.errors import InputError
from isthmus.examples import Examples
from isthmus.named_columns import in_training_order
from isthmus.torch_inputs import read_items


def as_examples(
    X: Any, *, use: Sequence[str] = (), sequences: bool = False, known: bool = False, **beside: Any
) -> Examples:
    """X and what accompanies it as `Examples`, whose x is an array, a tensor, a list or a pandas DataFrame.

    Args:
        X: (n, *X) rows: an array, a tensor, a sparse matrix, a DataFrame of pandas or polars; a list of arrays of
            unlike length, a sequence each; a dict of numbers by column, or a list of them; a torch `Dataset` or
            `DataLoader` of rows x or pairs (x, y), in the order of the data set; a path, a built-in name or a
            `Dataset`, of which all parts are taken; or `Examples`, which hold everything that accompanies their rows.
        use: names of the columns in training, which a table must have, in any order.
        sequences: whether arrays in a list are sequences even if they are all of one length.
        known: whether nothing is to be said of the table's form: a trained model knows it, or it has been said.
        **beside: the other fields of `Examples`, None for those that were not given; beside a path, `condition` may be
            the name of a column.

    Raises:
        InputError: for what cannot be read, other columns than in training, and for a field that X brings and that
            was given as well: one of the two would have no effect.
    """
    given = {name: values for name, values in beside.items() if values is not None}
    known = known or bool(use)
    if isinstance(X, str | Path | Dataset):
        return source_data(X, use, given).select()
    if isinstance(X, Examples):
        for name in given:
            raise InputError(
                f"{argument_of(name)} must be inside the Examples that are passed as X, got both. "
                f"Pass Examples(x, {name}=...)."
            )
        own = fields_of(X.x, known=known)
        return in_training_order(X if own["x"] is X.x else replace(X, **own), use)
    own = fields_of(X, sequences and "lengths" not in given, known)
    for name in given.keys() & own.keys():
        name = argument_of(name)
        raise InputError(f"{name} must be None, got both {name} and a {type(X).__name__} that brings its own.")
    if "target" in given:
        given["target"] = to_pandas_or_dense(given["target"], "target")
    return in_training_order(Examples(**own, **given), use)


def counted(examples: Examples) -> Examples:
    """The examples without rows of weight 0, whose values are not checked: their classes may occur nowhere else."""
    if examples.weight is None:
        return examples
    weight = as_weight(examples.weight, len(examples))
    if weight is None or weight.all():
        return examples
    return replace(examples, x=to_plain(examples.x), weight=weight).without_zero_weight()


def to_plain(x: Any) -> Any:
    """Rows as something whose rows can be taken: a tensor as an array, a DataFrame as it is."""
    return x if hasattr(x, "columns") else to_cpu_array(x)


def as_parts(
    X: Any,
    *,
    use: Sequence[str] = (),
    conditional: bool = False,
    numeric: bool = True,
    sequences: bool = False,
    **beside: Any,
) -> Dataset:
    """X and what accompanies it as a data set, which keeps the validation and test rows that X brings.

    Args:
        X, use, sequences, beside: as in `as_examples`.
        conditional: whether labels that X brings are the condition.
        numeric: whether all columns must be numeric; otherwise those of a path may be anything.
    """
    given = {name: values for name, values in beside.items() if values is not None}
    if isinstance(X, str | Path | Dataset):
        conditional |= isinstance(given.get("condition"), str)
        data = source_data(X, use, given, numeric)
    else:
        data = Dataset("X", as_examples(X, use=use, sequences=sequences, **beside))
        conditional &= brings_labels(X)
    if not conditional:
        return data
    return replace(data, train=conditioned(data.train), valid=conditioned(data.valid), test=conditioned(data.test))


def conditioned(part: Examples | None) -> Any:
    """Examples whose labels are the condition, if they have no other."""
    return part if part is None or part.condition is not None else replace(part, condition=part.y)


def source_data(X: str | Path | Dataset, use: Sequence[str], given: dict[str, Any], numeric: bool = True) -> Dataset:
    """A data set, read if X is its path or name; beside that only a column of labels and weights may be `given`."""
    if isinstance(X, Dataset):
        valid, test = (None if part is None else as_examples(part, use=use, known=True) for part in (X.valid, X.test))
        return replace(X, train=as_examples(X.train, use=use, known=True, **given), valid=valid, test=test)
    column = given.get("condition")
    for name in given:
        if name != "weight" and (name != "condition" or not isinstance(column, str)):
            raise InputError(f"{name} must be None, for data that are read bring their own, got {name}=...")
    data = read_raw(X, ColumnRoles(column, of_model=bool(use)))
    if use:  # a table of other columns is refused like a DataFrame of them, whatever these hold
        names = [name for name in use if name != column]
        data = replace(data, train=in_training_order(data.train, names, str(X)))  # a table has no other parts
    data = require_numeric(data) if numeric else data
    return replace(data, train=replace(data.train, weight=given["weight"])) if "weight" in given else data


def argument_of(field: str) -> str:
    """The argument of `fit` that becomes a field of `Examples`."""
    return "sample_weight" if field == "weight" else field


def brings_labels(X: Any) -> bool:
    """Whether X may have labels y of its own, which are the condition of a conditional model."""
    return isinstance(X, str | Path | Dataset | TorchDataset | DataLoader)


def fields_of(X: Any, sequences: bool = False, known: bool = False) -> dict[str, Any]:
    """The fields of `Examples` that X brings: its rows x, and lengths or labels where it has them.

    Args:
        X: as in `as_examples`.
        sequences: whether arrays in a list are sequences even if they are all of one length.
        known: as in `as_examples`.
    """
    if isinstance(X, TorchDataset | DataLoader):
        rows, labels = read_items(X)
        return as_array(rows, sequences) | ({} if labels is None else {"y": np.asarray(labels)})
    if is_record(X) or (isinstance(X, list | tuple) and X and all(map(is_record, X))):
        import pandas as pd

        return {"x": pd.DataFrame([X] if is_record(X) else list(X))}
    if isinstance(X, list | tuple) and are_sequences(X, sequences):
        return padded(X)
    return {"x": to_pandas_or_dense(X, "X", known)}


def is_record(X: Any) -> bool:
    """Whether X is one row by the names of its columns, as services receive it: a dict of numbers."""
    return type(X) is dict and bool(X) and all(np.ndim(value) == 0 for value in X.values())


def to_pandas_or_dense(X: Any, name: str, known: bool = False) -> Any:
    """A DataFrame of another library as one of pandas, a sparse matrix as a dense one; anything else as it is.

    Args:
        X: the rows.
        name: what errors call them.
        known: as in `as_examples`.

    Raises:
        InputError: for a sparse matrix that is too large for memory as a dense one, and a table that is not computed.
    """
    if is_sparse(X):
        return dense(X, name)
    if hasattr(X, "iloc") and hasattr(X, "columns"):
        frame, notes = without_index(X, ColumnRoles(of_model=known))
        if notes:
            warnings.warn(f"{name}: {'; '.join(notes)}.", UserWarning, stacklevel=4)
        return frame
    if hasattr(type(X), "columns") and hasattr(type(X), "to_pandas"):
        return to_pandas_or_dense(X.to_pandas(), name, known)
    if hasattr(type(X), "collect_schema"):
        raise InputError(f"{name} must be a DataFrame, got a {type(X).__name__}. Pass {name}.collect().")
    return X


def library_of(X: Any) -> str:
    """The library whose DataFrame X is, or holds: pandas or polars; "" for anything else."""
    X = X.x if isinstance(X, Examples) else X
    name = type(X).__module__.partition(".")[0]
    return name if name in ("pandas", "polars") and hasattr(type(X), "columns") else ""


def are_sequences(X: Sequence[Any], of_one_length: bool = False) -> bool:
    """Whether X are arrays (t,) or (t, d) of unlike length, or, where that is known, `of_one_length`."""
    shapes = [tuple(getattr(item, "shape", ())) for item in X]
    if not shapes or not all(len(shape) in (1, 2) for shape in shapes):
        return False
    return of_one_length or len({shape[0] for shape in shapes}) > 1


def as_array(rows: Sequence[np.ndarray], sequences: bool) -> dict[str, np.ndarray]:
    """Rows as one array; with lengths if they are sequences."""
    if are_sequences(rows, sequences):
        return padded(rows)
    shapes = {row.shape for row in rows}
    if len(shapes) > 1:
        raise InputError(f"X must have rows of one shape, got {' and '.join(map(str, sorted(shapes)[:2]))}.")
    return {"x": np.stack(rows)}


def padded(X: Sequence[Any]) -> dict[str, np.ndarray]:
    """Arrays (t,) or (t, d) of unlike length as sequences (n, t, d) that are padded with zeros, and their lengths."""
    steps = [np.asarray(item.detach().cpu() if hasattr(item, "detach") else item) for item in X]
    widths = {item.shape[1:] for item in steps}
    if len(widths) > 1:
        raise InputError(
            f"X must hold sequences (t, d) of one width d, got {' and '.join(map(str, sorted(widths)[:2]))} after t."
        )
    lengths = np.array([len(item) for item in steps])
    if not lengths.all():
        raise InputError(f"X must hold sequences of at least one step, got none in item {int(np.argmin(lengths))}.")
    return {"x": pad_sequences(np.concatenate(steps), lengths, int(lengths.max()), "X"), "lengths": lengths}
