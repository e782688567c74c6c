"""Tables that are larger than their files: what they take is counted before it is taken."""

from __future__ import annotations

import gzip
import resource
import sys
import warnings

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest
import zstandard

from isthmus.data import guards, read
from isthmus.data.sources import read_raw
from isthmus.errors import InputError

WORD = "x" * 100_000


@pytest.fixture
def bomb(tmp_path):
    """A file of 10 KB with 300 MB of text."""
    table = pa.table({"a": [WORD] * 1000, "b": np.arange(1000.0)})
    with pa.parquet.ParquetWriter(tmp_path / "t.parquet", table.schema, compression="zstd") as writer:
        for _ in range(3):
            writer.write_table(table)
    assert (tmp_path / "t.parquet").stat().st_size < 20_000
    return tmp_path / "t.parquet"


def refused(path, *says, **options) -> None:
    with pytest.raises(InputError) as caught:
        read(path, **options)
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) < 300 + len(str(path))
    for words in says:
        assert words in message


def test_repeated_text_takes_the_memory_of_one(bomb):
    before, most = pa.total_allocated_bytes(), pa.default_memory_pool().max_memory()
    x = read_raw(bomb).train.x
    assert pa.default_memory_pool().max_memory() - max(before, most) < 10e6
    assert x.b.tolist() == list(range(1000)) * 3
    assert (len(x.a.cat.categories), x.a.cat.categories[0]) == (1, WORD)
    refused(bomb, "column 'a' must be numeric, but 3000 of 3000 rows are not", "xxx...", "--drop a")
    assert list(read(bomb, drop=["a"]).train.x.columns) == ["b"]


def test_labels_of_long_text_are_counted(bomb, monkeypatch):
    monkeypatch.setattr(guards, "free_memory", lambda: 10**8)
    refused(bomb, "the condition, column 'a', as text of 100,000 characters", "takes 1.2 GB", condition="a")
    refused(bomb, "the id, column 'a', as text", "takes 1.2 GB", id="a")


NUMBERS = {
    "lists": pa.array([[0.0] * 10_000] * 100, pa.list_(pa.float64())),
    "fixed": pa.array([b"\0" * 10_000] * 1000, pa.binary(10_000)),
    "numbers": pa.array(np.zeros(10**6)),
    "nothing": pa.nulls(10**6),
}


@pytest.mark.parametrize("kind", NUMBERS)
def test_values_that_a_file_holds_once_are_counted_as_often_as_they_are(tmp_path, monkeypatch, kind):
    pa.parquet.write_table(pa.table({"a": NUMBERS[kind]}), tmp_path / "t.parquet", compression="zstd")
    assert (tmp_path / "t.parquet").stat().st_size < 100_000
    monkeypatch.setattr(guards, "free_memory", lambda: 5 * 10**6)
    refused(tmp_path / "t.parquet", "t.parquet takes", "but only 0.0 GB of memory are free")


def test_lists_of_text_are_not_read(tmp_path):
    words = pa.array([["x", "y"]] * 5)
    pa.parquet.write_table(pa.table({"a": words, "b": np.arange(5.0)}), tmp_path / "t.parquet")
    refused(tmp_path / "t.parquet", "column 'a'", "lists of text", "--drop a")
    assert read(tmp_path / "t.parquet", drop=["a"]).train.x.b.tolist() == [0, 1, 2, 3, 4]


def test_text_that_spells_numbers_is_read_from_categories(tmp_path):
    words = pd.DataFrame({"a": ["1", "2", "1"], "b": ["1.5", None, "2"]})
    words.to_parquet(tmp_path / "t.parquet")
    x = read(tmp_path / "t.parquet").train.x
    assert x.a.tolist() == [1, 2, 1]
    assert x.a.dtype.kind == "i"
    np.testing.assert_array_equal(x.b, [1.5, np.nan, 2])


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".csv.zst"])
@pytest.mark.parametrize(("cell", "read_at"), [(b"1", 5 * 10**6), (b"x" * 50, 8 * 10**6)])
def test_cells_of_text_files_are_counted(tmp_path, monkeypatch, suffix, cell, read_at):
    text = b"a,b,c\n" + (b",".join([cell] * 3) + b"\n") * 30_000
    squeeze = {".csv": bytes, ".csv.gz": gzip.compress, ".csv.zst": zstandard.compress}[suffix]
    (tmp_path / f"t{suffix}").write_bytes(squeeze(text))
    monkeypatch.setattr(guards, "free_memory", lambda: read_at // 4)
    refused(tmp_path / f"t{suffix}", f"t{suffix} takes")
    monkeypatch.setattr(guards, "free_memory", lambda: read_at)
    assert len(read_raw(tmp_path / f"t{suffix}").train.x) == 30_000


def test_a_limit_of_this_process_is_less_memory(monkeypatch):
    most = 10**6
    monkeypatch.setattr(resource, "getrlimit", lambda which: (guards_used() + most, -1))
    assert 0 <= guards.free_memory() <= 2 * most
    monkeypatch.setattr(resource, "getrlimit", lambda which: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert guards.free_memory() == pytest.approx(guards.system_memory(), rel=0.2)


def guards_used() -> int:
    """Address space of this process in bytes."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * resource.getpagesize()


# ------------------------------------------------------------------------ .zst


def test_zst_of_several_frames_is_read_whole_or_not_at_all(tmp_path):
    path = tmp_path / "t.csv.zst"
    rows = pd.DataFrame(np.random.default_rng(0).normal(size=(3000, 3)), columns=list("abc"))
    text = rows.to_csv(index=False).encode()
    frames = [zstandard.compress(part) for part in (text[:1000], text[1000:], b"")]
    path.write_bytes(b"".join(frames))
    pd.testing.assert_frame_equal(read(path).train.x, rows)
    for end in (len(frames[0]) + 9, len(path.read_bytes()) - len(frames[2]) - 1):
        path.write_bytes(b"".join(frames)[:end])
        refused(path, "cannot read", "the file ends in the middle of its data")


def test_zst_without_the_package_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "t.csv.zst").write_bytes(zstandard.compress(b"a\n1\n"))
    monkeypatch.setitem(sys.modules, "zstandard", None)
    refused(tmp_path / "t.csv.zst", "pip install zstandard")


# ------------------------------------------------------------------ odd numbers


def test_a_whole_number_beyond_all_floats_is_infinite(tmp_path):
    (tmp_path / "t.csv").write_text("a,b\n1,2\n" + "9" * 400 + ",3\n")
    assert np.isinf(read(tmp_path / "t.csv").train.x.a[1])


def test_one_column_may_have_decimal_commas(tmp_path):
    (tmp_path / "t.csv").write_text("a\n1,5\n-0,25\n3\n")
    with pytest.warns(UserWarning, match="decimals are separated by ','"):
        assert read(tmp_path / "t.csv").train.x.a.tolist() == [1.5, -0.25, 3]
    (tmp_path / "t.csv").write_text("a\n1\n2\n")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read(tmp_path / "t.csv").train.x.a.tolist() == [1, 2]
