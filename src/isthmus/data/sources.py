"""Find the reader for a built-in name or a path."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path

from isthmus.data.arrays import from_npy, from_npz
from isthmus.data.built_in import BUILT_IN, load_built_in
from isthmus.data.column_roles import NO_ROLES, ColumnRoles
from isthmus.data.dataset import Dataset
from isthmus.data.guards import read_errors
from isthmus.data.image_files import IMAGE_SUFFIXES
from isthmus.data.image_options import AS_THEY_ARE, ImageOptions
from isthmus.data.images import from_file, from_folder
from isthmus.data.tables import from_parquet, require_numeric, take_columns
from isthmus.data.text_tables import COMPRESSED, from_csv
from isthmus.errors import InputError, unknown
from isthmus.examples import PARTS
from isthmus.wording import one_line, quoted

ARRAY_READERS = {".npy": from_npy, ".npz": from_npz}
TABLE_READERS = {
    ".csv": from_csv,
    ".tsv": from_csv,
    ".txt": from_csv,
    ".csv.gz": from_csv,
    ".tsv.gz": from_csv,
    ".txt.gz": from_csv,
    ".csv.zst": from_csv,
    ".tsv.zst": from_csv,
    ".txt.zst": from_csv,
    ".parquet": from_parquet,
}
FILE_SUFFIXES = (*ARRAY_READERS, *TABLE_READERS)


def read(
    source: str | Path,
    *,
    condition: str | None = None,
    id: str | None = None,
    weight: str | None = None,
    drop: Sequence[str] = (),
    use: Sequence[str] = (),
    size: int | str | tuple[int, int] | None = None,
    crop: bool = False,
    mode: str | None = None,
) -> Dataset:
    """Read a numeric data set.

    Args:
        source: a built-in name (see `BUILT_IN`), a file (`FILE_SUFFIXES`), an image file or a folder of images.
        condition: the column of a table that becomes the labels y.
        id: the column of a table that names the rows.
        weight: the column of a table that says how much each row counts, as `sample_weight` does.
        drop: columns of a table to leave out.
        use: the columns of a table that are features; by default all that have no other role.
        size: width and height in pixels that images are resized to: 64, "64x48" or (64, 48).
        crop: cut images about their centre to the aspect ratio of `size`, or to a square, before they are resized.
        mode: "grey" or "rgb", which images are converted to.

    Raises:
        InputError: if the source does not exist, cannot be read, does not fit into memory or is not numeric, and for
            columns that it does not have or options that it does not take.
    """
    for role, column in {"condition": condition, "id": id, "weight": weight}.items():
        if column is not None and not isinstance(column, str):
            raise InputError(f"{role} must be the name of a column, got {quoted(column)}.")
    for role, columns in {"drop": drop, "use": use}.items():
        if not isinstance(columns, list | tuple) or not all(isinstance(column, str) for column in columns):
            raise InputError(f"{role} must be a list of names of columns, got {quoted(columns)}.")
    roles = ColumnRoles(condition, id, tuple(drop), tuple(use), weight=weight)
    return read_columns(source, roles, ImageOptions.parse(size, crop, mode))


def read_columns(source: str | Path, roles: ColumnRoles, images: ImageOptions = AS_THEY_ARE) -> Dataset:
    """`read`, with the columns that are no features, and the options of images, as one argument each."""
    return require_numeric(read_raw(source, roles, images))


def read_raw(source: str | Path, roles: ColumnRoles = NO_ROLES, images: ImageOptions = AS_THEY_ARE) -> Dataset:
    """Like `read_columns`, but tables keep columns that are not numeric: data to be checked, not trained on."""
    name = str(source)
    if not name:
        raise InputError("DATA must be a built-in name or a path, got an empty string.")
    path = Path(source)
    if name in BUILT_IN:
        data = take_columns(load_built_in(name), roles)
    else:
        with read_errors(one_line(name)):
            data = read_path(path, name, roles, images)
    if data.images is None and images.options() and not images.remembered:
        raise InputError(f"{images.options()[0]} must come with image files or a folder of them, got {one_line(name)}.")
    return data


def read_path(path: Path, source: str, roles: ColumnRoles, images: ImageOptions) -> Dataset:
    """Read a file by its suffix, or a folder of images; of a table, the columns that have a role or are features."""
    if path.is_dir():
        return take_columns(from_folder(path, source, images), roles)
    if not path.exists():
        raise not_found(path, source)
    suffix = file_suffix(path)
    if suffix in IMAGE_SUFFIXES:
        return take_columns(from_file(path, source, images), roles)
    if suffix not in FILE_SUFFIXES or not path.is_file():
        raise InputError(
            f"cannot read {source}: it must be a file of type {', '.join(FILE_SUFFIXES)}, an image or a folder of "
            "images."
        )
    if path.stat().st_size == 0:
        raise InputError(f"cannot read {source}: the file is empty")
    if suffix in ARRAY_READERS:
        data = take_columns(ARRAY_READERS[suffix](path, source), roles)
    else:
        data = TABLE_READERS[suffix](path, source, roles)
    for part in PARTS:
        examples = getattr(data, part)
        if examples is not None and not len(examples):
            key = "x" if part == "train" else f"x_{part}"
            raise InputError(f"{source} has no rows{f' in {key}' if suffix == '.npz' else ''}.")
    return data


def file_suffix(path: Path) -> str:
    """The end of a file's name that says what it holds, in lower case.

    >>> file_suffix(Path("a.b.CSV")), file_suffix(Path("a.b.csv.gz"))
    ('.csv', '.csv.gz')
    """
    return "".join(path.suffixes[-2:] if path.suffix.lower() in COMPRESSED else path.suffixes[-1:]).lower()


def not_found(path: Path, source: str) -> InputError:
    """The error for a source that is neither a built-in name nor a path; suggests the nearest of both."""
    if not path.suffix and len(path.parts) == 1:
        return unknown("data set", source, BUILT_IN)
    if not path.parent.is_dir():
        return InputError(f"there is no file {source}: the folder {str(path.parent)!r} does not exist.")
    names = [entry.name for entry in path.parent.iterdir()]
    nearest = difflib.get_close_matches(path.name, names, n=1, cutoff=0.6)
    hint = f" Did you mean {str(path.parent / nearest[0])!r}?" if nearest else ""
    return InputError(f"there is no file {source}.{hint}")
