"""Writing arrays: .npz, .npy, .csv, .parquet, and images as .png, in one file or one each; and reading codes."""

from __future__ import annotations

import math
import os
import zipfile
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from isthmus.atomic_io import atomic_folder, atomic_write
from isthmus.data.arrays import check_numeric, from_npy, npy_header_nbytes, read_npy
from isthmus.data.column_roles import NO_ROLES, ColumnRoles
from isthmus.data.guards import read_errors, require_memory
from isthmus.data.image_files import IMAGE_SUFFIXES
from isthmus.data.sources import FILE_SUFFIXES, TABLE_READERS, file_suffix, not_found
from isthmus.data.tables import as_labels, split_numeric_columns
from isthmus.errors import InputError
from isthmus.schema import Schema
from isthmus.wording import join_names, one_line

if TYPE_CHECKING:
    import pandas as pd
    from PIL.Image import Image

ARRAY_SUFFIXES = (".npz", ".npy", ".csv", ".parquet")
SCORE_SUFFIXES = (".csv", ".parquet", ".npz")
PNG = ".png"
NUMBERS = ("draw", "row")
"""Columns beside several draws for each row."""
MIN_IMAGE_PX = 512
"""Small images are enlarged by an integer factor until they are about this wide."""


def check_output(path: Path, inputs: Iterable[str], force: bool) -> None:
    """Raise InputError for an output file that would cost the user another file.

    Nothing in a table or an array says who wrote it: any file that is there already is only replaced on request, and
    what is read is never written.

    Args:
        path: the output file.
        inputs: files, folders or built-in names that are read.
        force: replace a file that is there.
    """
    for source in map(Path, inputs):
        if path.exists() and source.exists() and path.samefile(source):
            raise InputError(f"the output must not be the file that is read, got {path}. Pass another file with -o.")
        if source.is_dir() and path.resolve().is_relative_to(source.resolve()):
            raise InputError(f"{path} lies inside the data ({source}). Pass a file outside of it with -o.")
    if path.is_dir():  # for a PNG file of each example
        if any(path.iterdir()):
            raise InputError(f"{path} exists already and is not an empty folder. Pass another one with -o.")
    elif os.path.lexists(path) and not force:
        raise InputError(f"{path} exists already. Pass --force to replace it, or another file with -o.")


def write_arrays(
    path: Path,
    arrays: dict[str, np.ndarray],
    names: Sequence[str],
    schema: Schema,
    ids: tuple[str, np.ndarray] | None = None,
) -> None:
    """Write arrays atomically, in the format of the file's suffix.

    Args:
        path: the file.
        arrays: name to array (n, ...). The first one is the main array; the others (labels) are written where the
            format has a place for them.
        names: column names of the main array in tables; x0, x1, ... if their number does not match.
        schema: the schema of the data, by which examples are drawn as images.
        ids: what the rows are called, and the name of that column: the first one of a table, `ids` of an .npz.

    Raises:
        InputError: if the arrays cannot be written in this format, or the file cannot be written.
    """
    main, *others = arrays.items()
    values = main[1]
    suffix = path.suffix.lower()
    check_suffix(path, of_data=values.shape[1:] == schema.event_shape)
    with atomic_write(path) as temporary:
        if suffix == ".npz":
            with open(temporary, "wb") as file:
                beside = {} if ids is None else {"ids": ids[1]}
                np.savez_compressed(file, **arrays, **beside)  # type: ignore[arg-type]
        elif suffix == ".npy":
            with open(temporary, "wb") as file:
                np.save(file, values)
        elif suffix == PNG:
            image_grid(values, schema).save(temporary)
        else:
            import pandas as pd

            flat = values.reshape(len(values), math.prod(values.shape[1:]))  # -1 fails for no rows
            columns = list(names) if len(names) == flat.shape[1] else [f"x{i}" for i in range(flat.shape[1])]
            table = pd.DataFrame(flat, columns=columns)
            for name, extra in others:
                table[name] = extra
            write_frame(temporary, with_ids(table, ids, path))


def check_suffix(path: Path, of_data: bool) -> None:
    """Raise InputError if arrays cannot be written in the format of the file's suffix.

    Args:
        path: the file.
        of_data: whether they are examples, which may be images; codes are none.
    """
    suffixes = (*ARRAY_SUFFIXES, PNG) if of_data else ARRAY_SUFFIXES
    if path.suffix.lower() not in suffixes:
        folder = ", or be FOLDER/ for a PNG file of each row" if of_data else ""
        raise InputError(f"the output file must end in one of {', '.join(suffixes)}{folder}, got {path.name!r}.")


def check_score_file(path: Path) -> None:
    """Raise InputError if scores cannot be written in the format of the file's suffix."""
    if path.suffix.lower() not in SCORE_SUFFIXES:
        raise InputError(f"the output file must end in one of {', '.join(SCORE_SUFFIXES)}, got {path.name!r}.")


def write_scores(
    path: Path,
    scores: dict[str, np.ndarray],
    elements: np.ndarray | None,
    names: Sequence[str],
    ids: tuple[str, np.ndarray] | None = None,
) -> list[str]:
    """Write scores atomically, in the order of the rows: columns of a table, or arrays of an .npz.

    Args:
        path: the file.
        scores: name to array (n,).
        elements: (n, *X) the distortion of each element, nats, which becomes the columns `distortion_NAME` of a table.
        names: of the elements; x0, x1, ... if their number does not match.
        ids: as in `write_arrays`.

    Returns:
        The names of the elements.
    """
    check_score_file(path)
    flat = np.zeros((len(next(iter(scores.values()))), 0)) if elements is None else elements.reshape(len(elements), -1)
    names = list(names) if len(names) == flat.shape[1] else [f"x{i}" for i in range(flat.shape[1])]
    with atomic_write(path) as temporary:
        if path.suffix.lower() == ".npz":
            arrays = scores | ({} if elements is None else {"distortion": elements})
            arrays |= {} if ids is None else {"ids": ids[1]}
            with open(temporary, "wb") as file:
                np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
        else:
            import pandas as pd

            by_element = pd.DataFrame(flat, columns=[f"distortion_{name}" for name in names])
            write_frame(temporary, with_ids(pd.concat([pd.DataFrame(scores), by_element], axis=1), ids, path))
    return names


def with_ids(frame: pd.DataFrame, ids: tuple[str, np.ndarray] | None, path: Path) -> pd.DataFrame:
    """The table of a file with the ids of its rows as the first column."""
    if ids is not None:
        if ids[0] in frame.columns:
            raise InputError(f"the ids must have a name that no other column of {path.name} has, got {ids[0]!r}.")
        frame.insert(0, *ids)
    return frame


def write_frame(path: Path, frame: pd.DataFrame) -> None:
    """Write a table without its index, as .csv or .parquet by the suffix."""
    frame.to_csv(path, index=False) if path.suffix.lower() == ".csv" else frame.to_parquet(path, index=False)


class Codes(NamedTuple):
    """What `isthmus encode` wrote.

    Args:
        z: (n, D) codes, or of several draws (K, n, D) in an array.
        y: (n,) labels, if there are any.
        ids: (n,) names of the rows, if there are any.
        lengths: (n,) steps of the sequences, if they are some.
        draw, row: (n,) numbers of the draw and of the row that each code is of, where several were drawn for each row.
    """

    z: np.ndarray
    y: np.ndarray | None = None
    ids: np.ndarray | None = None
    lengths: np.ndarray | None = None
    draw: np.ndarray | None = None
    row: np.ndarray | None = None

    @property
    def numbers(self) -> dict[str, np.ndarray]:
        """The numbers of draws and rows by name, if there are any."""
        return {name: values for name in NUMBERS if (values := getattr(self, name)) is not None}


def one_below_the_other(arrays: dict[str, Any]) -> dict[str, np.ndarray]:
    """Draws z (K, n, *Z) as (K * n, *Z), with the number of the draw, of the row and what belongs to it beside each."""
    codes = arrays.pop("z")
    draws, rows = np.indices(codes.shape[:2]).reshape(2, -1)
    beside = {name: np.asarray(values)[rows] for name, values in arrays.items()}
    return {"z": codes.reshape(-1, *codes.shape[2:]), "draw": draws, "row": rows, **beside}


def read_codes(source: str, roles: ColumnRoles = NO_ROLES, labels: str | None = None) -> Codes:
    """Read codes, and the labels and ids that may come with them.

    They are arrays of an .npz of the names of `Codes`. Of a table they are the column of ids of its `roles`, the column
    of `labels`, or else `y`, for several draws the columns `draw` and `row`, and all others.
    """
    path = Path(source)
    suffix = file_suffix(path)
    if suffix not in FILE_SUFFIXES:
        raise InputError(f"the file of codes must end in one of {', '.join(FILE_SUFFIXES)}, got {path.name!r}.")
    with read_errors(source):
        if not path.exists():
            raise not_found(path, source)
        if suffix == ".npz":
            return read_npz_codes(path, source)
        if suffix == ".npy":
            return Codes(np.asarray(from_npy(path, source).train.x))
        table = TABLE_READERS[suffix](path, source, roles).train
        frame: Any = table.x
        named = (labels, "y") if labels not in NUMBERS else ("y",)
        column = next((name for name in named if name is not None and name in frame), None)
        y = None if column is None else as_labels(frame.pop(column), column)
        drawn = {name: frame.pop(name).to_numpy() for name in NUMBERS} if {*NUMBERS} <= {*frame.columns} else {}
        numbers, rejected = split_numeric_columns(frame)
        if rejected:
            raise InputError(f"{source}: {rejected[0].message}. Codes are numbers.")
        return Codes(numbers.to_numpy(), y, table.ids, **drawn)


def read_npz_codes(path: Path, source: str) -> Codes:
    """The arrays `z` and, if they are there, `y` and `ids` of an .npz."""
    arrays: dict[str, np.ndarray] = {}
    with zipfile.ZipFile(path) as archive:
        keys = [name.removesuffix(".npy") for name in archive.namelist()]
        if "z" not in keys:
            found = one_line(join_names(keys)) or "(none)"
            raise InputError(f"{source} must hold codes under the key 'z', got the keys {found}.")
        for key in set(Codes._fields) & set(keys):
            size = archive.getinfo(f"{key}.npy").file_size
            require_memory(size, source)
            with archive.open(f"{key}.npy") as file:
                npy_header_nbytes(file, f"{key} of {source}", size)
            with archive.open(f"{key}.npy") as file:
                arrays[key] = read_npy(file)
    n = check_numeric(arrays["z"], f"z of {source}").shape[-2]
    for key, values in arrays.items():
        if key != "z" and (values.shape[:1] != (n,) or (values.ndim > 1 and key != "y")):
            raise InputError(f"{key} of {source} must have one value for each of {n} codes, got shape {values.shape}.")
    return Codes(**arrays)


def write_pngs(folder: Path, rows: np.ndarray, schema: Schema, ids: Sequence[str] | None = None) -> None:
    """Write each example to a PNG file of its own; all of them or none.

    Args:
        folder: a new or empty folder.
        rows: (n, *X) images. Those of 16-bit greys are written as such; others as bytes from black to white.
        schema: the schema of the data.
        ids: (n,) names of the rows, which the files get; numbers by default.

    Raises:
        InputError: for rows that are no images, a folder that holds files or cannot be written, or names that are not
            those of files.
    """
    from PIL import Image

    check_drawable(schema)
    with atomic_folder(folder) as temporary:
        for name, row in zip(png_names(ids, len(rows)), rows):
            path = temporary / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels_of(row, schema)).save(path)


def pixels_of(row: np.ndarray, schema: Schema) -> np.ndarray:
    """An example (*X) as uint8 (h, w) or (h, w, 3), or as uint16 (h, w) if the data are 16-bit greys."""
    from isthmus.plot.display import as_images

    if schema.dtype == "uint16" and len(schema.event_shape) == 2:
        return np.clip(np.rint(row), 0, 2**16 - 1).astype(np.uint16)
    pixels = (as_images(row[None], schema)[0, ..., :3] * 255).round().astype(np.uint8)
    return pixels if len(schema.event_shape) > 2 else pixels[..., 0]


def png_names(ids: Sequence[str] | None, n: int) -> list[str]:
    """Names of n PNG files: those of the rows, without the suffix of another image unless two would be the same.

    >>> png_names(None, 2), png_names(["a/cat.jpg", "a/cat.png", "dog.tif"], 3)
    (['0.png', '1.png'], ['a/cat.jpg.png', 'a/cat.png.png', 'dog.png'])

    Raises:
        InputError: for names that occur twice or lead out of the folder.
    """
    if ids is None:
        return [f"{i:0{len(str(n - 1))}}.png" for i in range(n)]
    names = list(map(str, ids))
    stems = [name[: -len(Path(name).suffix)] if Path(name).suffix.lower() in IMAGE_SUFFIXES else name for name in names]
    counts = Counter(stems)
    files = [f"{stem if counts[stem] == 1 else name}.png" for name, stem in zip(names, stems)]
    bad = next((file for file, count in Counter(files).items() if count > 1 or not is_inside(file)), None)
    if bad is not None:
        raise InputError(f"names of the rows must differ, and be those of files in the folder, got {one_line(bad)!r}.")
    return files


def is_inside(name: str) -> bool:
    """Whether the name of a file, joined to a folder, stays in it."""
    path = PurePath(name)
    return not path.is_absolute() and not path.drive and ".." not in path.parts and "\0" not in name


def check_drawable(schema: Schema) -> None:
    """Raise InputError for rows that are no images."""
    from isthmus.plot.display import display_kind

    if display_kind(schema) == "table" and math.isqrt(schema.size) ** 2 != schema.size:
        raise InputError(
            f"only images can be written as .png, got rows of shape {schema.event_shape}. Use .npz or .csv."
        )


def image_grid(rows: np.ndarray, schema: Schema) -> Image:
    """Examples (n, *X) as one image, side by side in a square grid."""
    from PIL import Image

    from isthmus.plot.display import as_images
    from isthmus.plot.style import mosaic

    check_drawable(schema)
    if not len(rows):
        raise InputError("a .png must show at least one example, got none. Use .npz or .csv for empty results.")
    images = as_images(rows, schema)[..., :3]
    sheet = mosaic(images, math.ceil(math.sqrt(len(images))), 1)
    zoom = max(1, MIN_IMAGE_PX // max(sheet.shape))
    pixels = (sheet * 255).round().astype(np.uint8).repeat(zoom, 0).repeat(zoom, 1)
    return Image.fromarray(pixels)
