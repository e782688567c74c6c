"""From a name or a path to the reader of what lies there."""

from __future__ import annotations

import difflib
from pathlib import Path

from isthmus.data.arrays import from_npy, from_npz
from isthmus.data.built_in import BUILT_IN, built_in
from isthmus.data.dataset import Dataset
from isthmus.data.guards import reading
from isthmus.data.images import IMAGES, from_folder
from isthmus.data.tables import from_csv, from_parquet, labelled, numbers_only
from isthmus.errors import InputError, unknown

FILES = (".npy", ".npz", ".csv", ".parquet")


def read(source: str | Path, *, condition: str | None = None) -> Dataset:
    """The data behind a built-in name or a path; `condition` names the column of a table that becomes the labels.

    Raises InputError for what is not there, cannot be read, is larger than memory or holds no numbers.
    """
    return numbers_only(read_raw(source, condition=condition))


def read_raw(source: str | Path, *, condition: str | None = None) -> Dataset:
    """As `read`, but with the columns of words that a table may have: what is to be checked, not trained on."""
    name = str(source)
    if not name:
        raise InputError("an empty name came; a built-in name or a path is wanted")
    path = Path(source)
    if name in BUILT_IN:
        data = built_in(name)
    else:
        with reading(name):
            data = at_path(path, name)
    return labelled(data, condition)


def at_path(path: Path, source: str) -> Dataset:
    """A file by its suffix, or a folder of images."""
    if path.is_dir():
        return from_folder(path, source)
    if not path.exists():
        raise missing(path, source)
    suffix = path.suffix.lower()
    if suffix not in FILES or not path.is_file():
        also = "; for images give their folder" if suffix in IMAGES else ""
        raise InputError(f"cannot read {source}: {', '.join(FILES)} or a folder of images is wanted{also}")
    if path.stat().st_size == 0:
        raise InputError(f"cannot read {source}: the file is empty")
    readers = {".npy": from_npy, ".npz": from_npz, ".csv": from_csv, ".parquet": from_parquet}
    data = readers[suffix](path, source)
    for part, name in ((data.train, "x"), (data.valid, "x_valid"), (data.test, "x_test")):
        if part is not None and not len(part.x):
            raise InputError(f"{source} holds no rows in {name}" if suffix == ".npz" else f"{source} holds no rows")
    return data


def missing(path: Path, source: str) -> InputError:
    """What to say of a source that is neither a name nor a path, with the nearest of either."""
    if not path.suffix and len(path.parts) == 1:
        return unknown("data set", source, BUILT_IN)
    if not path.parent.is_dir():
        return InputError(f"no file at {source}: there is no folder {str(path.parent)!r}")
    beside = [entry.name for entry in path.parent.iterdir()]
    near = difflib.get_close_matches(path.name, beside, n=1, cutoff=0.6)
    return InputError(f"no file at {source}" + (f"; did you mean {str(path.parent / near[0])!r}?" if near else ""))
