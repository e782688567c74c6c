"""Broken files by seed: what a disk, a download, another program or an attacker makes of a file."""

from __future__ import annotations

import gzip
import io
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import zstandard

Random = np.random.Generator
Kind = Callable[[Random, Path], Path]
"""Writes one broken file into a folder and returns its path."""


# ------------------------------------------------------------------ whole files


def frame(random: Random) -> pd.DataFrame:
    """A small table: floats, counts, truth values, and sometimes words and gaps."""
    n = int(random.integers(1, 40))
    columns = {"a": random.normal(size=n), "b": random.integers(0, 9, n), "c": random.random(n) < 0.5}
    if random.random() < 0.3:
        columns["word"] = random.choice(["x", "a longer word", "", "1.5"], n)
    if random.random() < 0.3:
        columns["gaps"] = np.where(random.random(n) < 0.3, np.nan, 1.0)
    return pd.DataFrame(columns)


def array(random: Random) -> np.ndarray:
    """A small array of any dtype and number of dimensions."""
    shape = tuple(random.integers(1, 5, int(random.integers(1, 5))))
    dtype = random.choice(["f4", "f8", "f2", "i8", "u1", "?", ">f4", ">i2"])
    return (random.random(shape) * 9).astype(dtype)


def as_bytes(write: Callable[[io.BytesIO], object]) -> bytes:
    """What a function writes into a file."""
    buffer = io.BytesIO()
    write(buffer)
    return buffer.getvalue()


def csv_text(random: Random, separator: str = ",") -> bytes:
    return frame(random).to_csv(index=bool(random.random() < 0.3), sep=separator).encode()


WHOLE: dict[str, Callable[[Random], bytes]] = {
    ".csv": csv_text,
    ".tsv": lambda random: csv_text(random, "\t"),
    ".csv.gz": lambda random: gzip.compress(csv_text(random)),
    ".csv.zst": lambda random: zstandard.compress(csv_text(random)),
    ".parquet": lambda random: as_bytes(lambda file: frame(random).to_parquet(file)),
    ".npy": lambda random: as_bytes(lambda file: np.save(file, array(random))),
    ".npz": lambda random: as_bytes(lambda file: np.savez(file, x=array(random), y=np.arange(3))),
}
"""The bytes of a whole file of each suffix."""


# ---------------------------------------------------------------------- damage


def cut(random: Random, data: bytes) -> bytes:
    return data[: int(random.integers(0, len(data) + 1))]


def flip(random: Random, data: bytes) -> bytes:
    """A few bytes replaced, sometimes all within the last hundred, where formats keep their index."""
    changed = bytearray(data)
    low = max(0, len(data) - 100) if random.random() < 0.4 else 0
    for _ in range(int(random.integers(1, 9))):
        if len(changed) > low:
            changed[int(random.integers(low, len(changed)))] = int(random.integers(0, 256))
    return bytes(changed)


def insert(random: Random, data: bytes) -> bytes:
    at = int(random.integers(0, len(data) + 1))
    junk = [b"\x00", b"\xff\xfe", b'"', b"\n\n", b",,,", b"\r", b"9" * 400, random.bytes(20)]
    return data[:at] + junk[int(random.integers(0, len(junk)))] + data[at:]


def remove(random: Random, data: bytes) -> bytes:
    start = int(random.integers(0, len(data) + 1))
    return data[:start] + data[start + int(random.integers(1, 60)) :]


def zero(random: Random, data: bytes) -> bytes:
    start = int(random.integers(0, len(data) + 1))
    block = data[start : start + 64]
    return data[:start] + bytes(len(block)) + data[start + len(block) :]


def repeat(random: Random, data: bytes) -> bytes:
    start, size = int(random.integers(0, len(data) + 1)), int(random.integers(1, 60))
    return data[:start] + data[start : start + size] * 3 + data[start + size :]


def swap(random: Random, data: bytes) -> bytes:
    """The bytes of a file of another format."""
    return WHOLE[str(random.choice(list(WHOLE)))](random)


DAMAGE = (cut, flip, insert, remove, zero, repeat, swap)


def damaged(suffix: str) -> Kind:
    """Files of this suffix, each with one kind of damage."""

    def write(random: Random, folder: Path) -> Path:
        data = WHOLE[suffix](random)
        for _ in range(int(random.integers(1, 3))):
            data = DAMAGE[int(random.integers(0, len(DAMAGE)))](random, data)
        return written(folder, suffix, data)

    return write


def written(folder: Path, suffix: str, data: bytes) -> Path:
    path = folder / f"broken{suffix}"
    path.write_bytes(data)
    return path


# ----------------------------------------------------------- files that lie


def odd_text(random: Random, folder: Path) -> Path:
    """Lines of odd cells: too many, too few, quoted, empty, of other alphabets."""
    cells = ["", "1", "-1.5", "1e999", "nan", "1,5", '"', '"a,b"', "\x00", "é", "=1+1", " ", "0x10", "1_000", "∞", "१"]
    separator = str(random.choice([",", ";", "\t", "|", "  "]))
    end = str(random.choice(["\n", "\r\n", "\r", "\n\n"]))
    sizes = random.integers(0, 6, int(random.integers(1, 30)))
    lines = [separator.join(map(str, random.choice(cells, int(size)))) for size in sizes]
    coding = str(random.choice(["utf-8", "utf-16", "utf-8-sig", "utf-32"]))
    return written(folder, str(random.choice([".csv", ".tsv"])), end.join(lines).encode(coding))


def forged_npy(random: Random, folder: Path) -> Path:
    """An array whose header says something else than its bytes."""
    shapes = ["(3, 2)", "(99999999999, 9)", "(-1, 2)", "()", "(2,)", "(0, 3)", "3", "(1.5, 2)", "('a',)"]
    shape = str(random.choice(shapes))
    dtype = str(random.choice(["<f8", "|O", "<U9", "<M8[ns]", "<c16", "zz", "[('a', '<f8')]", ">f8"]))
    order = str(random.choice(["False", "True", "None"]))
    dtype = dtype if dtype.startswith("[") else repr(dtype)
    header = f"{{'descr': {dtype}, 'fortran_order': {order}, 'shape': {shape}, }}\n".encode()
    version = bytes(random.choice([[1, 0], [2, 0], [3, 0], [9, 9]]).astype("u1"))
    size = struct.pack("<H" if version[0] == 1 else "<I", len(header))
    return written(folder, ".npy", b"\x93NUMPY" + version + size + header + random.bytes(int(random.integers(0, 80))))


def forged_npz(random: Random, folder: Path) -> Path:
    """An archive of arrays that do not belong together, under names that are not theirs."""
    names = [
        "x",
        "X",
        "y",
        "x_train",
        "x_test",
        "x_valid",
        "lengths",
        "factors",
        "factor_names",
        "../x",
        "x.txt",
        "\x1c",
    ]
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in dict.fromkeys(map(str, random.choice(names, int(random.integers(0, 5))))):
            data = WHOLE[".npy"](random)
            data = flip(random, data) if random.random() < 0.3 else data
            archive.writestr(name if random.random() < 0.1 else f"{name}.npy", data)
    return written(folder, ".npz", buffer.getvalue())


def odd_parquet(random: Random, folder: Path) -> Path:
    """A table with columns of any type, or of one name, or with no rows."""
    n = int(random.integers(0, 5))
    columns = {
        "numbers": pa.array(random.normal(size=n)),
        "gaps": pa.array([None] * n, pa.int32()),
        "words": pa.array(["w"] * n),
        "bytes": pa.array([b"\xff\x00"] * n),
        "lists": pa.array([[1.0, 2.0]] * n, pa.list_(pa.float64())),
        "lists of words": pa.array([["a", "b"]] * n, pa.list_(pa.string())),
        "records": pa.array([{"u": 1, "v": "a"}] * n, pa.struct([("u", pa.int8()), ("v", pa.string())])),
        "dates": pa.array([0] * n, pa.timestamp("ns", "UTC")),
        "decimals": pa.array([1] * n, pa.int64()).cast(pa.decimal128(25, 2)),
        "categories": pa.array(["c"] * n).dictionary_encode(),
        "nothing": pa.nulls(n),
        "fixed": pa.array([b"ab"] * n, pa.binary(2)),
        "half": pa.array(np.ones(n, "f2")),
    }
    chosen = [str(name) for name in random.choice(list(columns), int(random.integers(0, 5)))]
    table = pa.table([columns[name] for name in chosen], names=chosen)
    return written(folder, ".parquet", as_bytes(lambda file: pa.parquet.write_table(table, file)))


KINDS: dict[str, Kind] = {
    **{f"damaged {suffix}": damaged(suffix) for suffix in WHOLE},
    "odd text": odd_text,
    "forged .npy": forged_npy,
    "forged .npz": forged_npz,
    "odd .parquet": odd_parquet,
}
"""Kinds of broken files by name; a new kind is one entry."""
