"""Fuzzing of what is read: each file is read rightly or refused in one line, and no other exception is ever raised."""

from __future__ import annotations

import re
import warnings
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broken_files import KINDS
from fuzz_counts import counted
from isthmus.data import read
from isthmus.errors import InputError

OWN_FAULT = re.compile(r"is not defined|has no attribute|NoneType|unexpected keyword|not subscriptable|internal")
"""What a reason in an error says if the reader is wrong, not the file."""
MAX_CHARACTERS = 420


def read_or_refuse(path: Path) -> str:
    """What became of a file: read or refused; any other exception, or a message of several lines, is a failure."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            part = read(path).train
        except InputError as error:
            message = str(error).replace(str(path), path.name)
            assert message.isprintable(), message
            assert len(message) <= MAX_CHARACTERS, message
            assert not OWN_FAULT.search(message), message
            return counted("refused")
    x = part.x.to_numpy() if hasattr(part.x, "columns") else part.x
    assert x.dtype.kind in "biuf"
    assert x.dtype.isnative
    assert x.ndim >= 2
    assert len(x)
    assert part.y is None or len(part.y) == len(x)
    return counted("read")


def broken(kind: str, seed: int, folder: Path) -> Path:
    return KINDS[kind](np.random.default_rng([zlib.crc32(kind.encode()), seed]), folder)


@pytest.mark.parametrize("kind", KINDS)
def test_broken_files_are_read_or_refused(tmp_path, kind):
    for seed in range(8):
        read_or_refuse(broken(kind, seed, tmp_path))


@pytest.mark.grid
@pytest.mark.parametrize("kind", KINDS)
def test_thousands_of_broken_files_are_read_or_refused(tmp_path, kind):
    results = [read_or_refuse(broken(kind, seed, tmp_path)) for seed in range(8, 800)]
    assert "refused" in results


NAMES = st.text(st.characters(codec="utf-8", categories=["L", "Nd", "Zs", "Po"], exclude_characters='"'), min_size=1)
FLOATS = st.floats(-1e9, 1e9, allow_subnormal=False).map(lambda x: round(x, 6))


@st.composite
def tables(draw):
    """A table of numbers with names, and how it is written as text."""
    names = draw(st.lists(NAMES.map(str.strip).filter(is_name), min_size=1, max_size=5, unique=True))
    n = draw(st.integers(1, 12))
    columns = [
        draw(st.lists(draw(st.sampled_from([FLOATS, st.integers(-99, 10**6)])), min_size=n, max_size=n)) for _ in names
    ]
    separator = draw(st.sampled_from(",;\t|"))
    decimal = draw(st.sampled_from(".,")) if separator != "," else "."
    return pd.DataFrame(dict(zip(names, columns))), separator, decimal


def is_name(text: str) -> bool:
    """Whether text can be the name of a column, whatever the form of the table: it has a letter and no separator."""
    return any(c.isalpha() for c in text) and not set(text) & set(",;\t|") and text.lower() not in ("nan", "inf")


FUZZ = settings(
    max_examples=40, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)


@FUZZ
@given(tables(), st.sampled_from([".csv", ".tsv", ".csv.gz", ".csv.zst"]))
def test_tables_of_text_keep_their_numbers(tmp_path_factory, written, suffix):
    frame, separator, decimal = written
    path = tmp_path_factory.getbasetemp() / f"t{suffix}"
    frame.to_csv(path, index=False, sep=separator, decimal=decimal)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        x = read(path).train.x
    assert list(x.columns) == list(frame.columns)
    np.testing.assert_allclose(x.to_numpy(), frame.to_numpy(), rtol=1e-12)


@FUZZ
@given(st.binary(max_size=300), st.sampled_from([".csv", ".tsv", ".csv.gz", ".csv.zst", ".parquet", ".npy", ".npz"]))
def test_any_bytes_are_read_or_refused(tmp_path_factory, data, suffix):
    path = tmp_path_factory.getbasetemp() / f"any{suffix}"
    path.write_bytes(data)
    read_or_refuse(path)


@FUZZ
@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    read_or_refuse(path)
