"""Arrays to files: .npz, .npy, .csv, .parquet, and images as .png."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from isthmus.atomic_io import written
from isthmus.data import as_numbers
from isthmus.data.arrays import announced, array_in, from_npy, rows_of
from isthmus.data.guards import need, reading
from isthmus.data.sources import missing
from isthmus.data.tables import from_csv, from_parquet, labels
from isthmus.errors import InputError
from isthmus.schema import Schema

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = (".npz", ".npy", ".csv", ".parquet", ".png")


def write_arrays(path: Path, arrays: dict[str, np.ndarray], names: list[str], schema: Schema) -> None:
    """The first array is the matter, others (labels) go along where the format has room; in full or not at all."""
    main = next(iter(arrays.values()))
    suffix, known = path.suffix.lower(), SUFFIXES if main.shape[1:] == schema.event_shape else SUFFIXES[:-1]
    if suffix not in known:
        raise InputError(f"cannot write {path.name!r}: the file's name must end in {', '.join(known)}")
    with written(path) as part:
        if suffix == ".npz":
            with open(part, "wb") as file:
                np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
        elif suffix == ".npy":
            with open(part, "wb") as file:
                np.save(file, main)
        elif suffix == ".png":
            picture(main, schema).save(part)
        else:
            import pandas as pd

            flat = main.reshape(len(main), math.prod(main.shape[1:]))  # -1 would not do for no rows
            columns = names if len(names) == flat.shape[1] else [f"x{i}" for i in range(flat.shape[1])]
            table = pd.DataFrame(flat, columns=columns)
            for name, extra in list(arrays.items())[1:]:
                table[name] = extra
            table.to_csv(part, index=False) if suffix == ".csv" else table.to_parquet(part, index=False)


def read_codes(source: str) -> tuple[np.ndarray, np.ndarray | None]:
    """Codes (n, D), and labels where they lie beside them: as `z` and `y`, or a column `y`."""
    path = Path(source)
    suffix = path.suffix.lower()
    if suffix not in (".npz", ".npy", ".csv", ".parquet"):
        raise InputError(f"cannot read codes from {path.name!r}; .npz, .npy, .csv or .parquet is wanted")
    with reading(source):
        if not path.exists():
            raise missing(path, source)
        if suffix == ".npz":
            return codes_in(path, source)
        if suffix == ".npy":
            return np.asarray(from_npy(path, source).train.x), None
        frame: Any = (from_csv if suffix == ".csv" else from_parquet)(path, source).train.x
        y = labels(frame.pop("y"), "y") if "y" in frame else None
        numbers, words = as_numbers(frame)
        if words:
            raise InputError(f"{source}: {words[0].message}; codes are numbers")
        return numbers.to_numpy(), y


def codes_in(path: Path, source: str) -> tuple[np.ndarray, np.ndarray | None]:
    """`z` and, where it is there, `y` of an archive."""
    found: dict[str, np.ndarray] = {}
    with zipfile.ZipFile(path) as archive:
        names = [name.removesuffix(".npy") for name in archive.namelist()]
        if "z" not in names:
            raise InputError(f"{source} holds {', '.join(names) or 'nothing'}; codes are wanted under 'z'")
        for key in {"z", "y"} & set(names):
            size = archive.getinfo(f"{key}.npy").file_size
            need(size, source)
            with archive.open(f"{key}.npy") as file:
                announced(file, f"{key} of {source}", size)
            with archive.open(f"{key}.npy") as file:
                found[key] = array_in(file)
    return rows_of(found["z"], f"z of {source}"), found.get("y")


def picture(rows: np.ndarray, schema: Schema) -> Image:
    """Examples (n, *X) side by side, each of their pixels a whole number of the picture's."""
    from PIL import Image

    from isthmus.report.display import as_images, form_of, grey_range
    from isthmus.report.style import mosaic

    if form_of(schema) == "table" and math.isqrt(schema.size) ** 2 != schema.size:
        raise InputError(f"rows of shape {schema.event_shape} are not images; write .npz or .csv instead of .png")
    if not len(rows):
        raise InputError("there are no rows to draw; .npz or .csv can hold none, a picture cannot")
    images = as_images(rows, schema, grey_range(schema, rows))
    sheet = mosaic(images, math.ceil(math.sqrt(len(images))), 1)
    zoom = max(1, 512 // max(sheet.shape))
    pixels = (sheet * 255).round().astype(np.uint8).repeat(zoom, 0).repeat(zoom, 1)
    return Image.fromarray(pixels)
