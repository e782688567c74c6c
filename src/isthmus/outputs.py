"""Arrays to files: .npz, .npy, .csv, .parquet, and images as .png."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from isthmus.errors import InputError
from isthmus.files import reason, written
from isthmus.schema import Schema

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = (".npz", ".npy", ".csv", ".parquet", ".png")


def write_arrays(path: Path, arrays: dict[str, np.ndarray], names: list[str], schema: Schema) -> None:
    """The first array is the matter, others (labels) go along where the format has room; in full or not at all."""
    main = next(iter(arrays.values()))
    if path.suffix not in SUFFIXES:
        raise InputError(f"cannot write {path.name!r}: the file's name must end in {', '.join(SUFFIXES)}")
    with written(path) as part:
        if path.suffix == ".npz":
            with open(part, "wb") as file:
                np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
        elif path.suffix == ".npy":
            with open(part, "wb") as file:
                np.save(file, main)
        elif path.suffix == ".png":
            picture(main, schema).save(part)
        else:
            import pandas as pd

            flat = main.reshape(len(main), -1)
            columns = names if len(names) == flat.shape[1] else [f"x{i}" for i in range(flat.shape[1])]
            table = pd.DataFrame(flat, columns=columns)
            for name, extra in list(arrays.items())[1:]:
                table[name] = extra
            table.to_csv(part, index=False) if path.suffix == ".csv" else table.to_parquet(part, index=False)


def read_codes(source: str) -> tuple[np.ndarray, np.ndarray | None]:
    """Codes (n, D), and labels where they lie beside them."""
    path = Path(source)
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as file:
                if "z" not in file.files:
                    raise InputError(f"{path} holds {', '.join(file.files) or 'nothing'}; codes are wanted under 'z'")
                return file["z"], file["y"] if "y" in file.files else None
        if path.suffix == ".npy":
            return np.load(path, allow_pickle=False), None
        if path.suffix in (".csv", ".parquet"):
            import pandas as pd

            table = pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)
            labels = table.pop("y").to_numpy() if "y" in table else None
            return table.to_numpy(), labels
    except OSError as error:
        raise InputError(f"cannot read {path}: {reason(error)}") from None
    except (ValueError, EOFError, KeyError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} cannot be read as {path.suffix}: it is truncated, or something else") from None
    raise InputError(f"cannot read codes from {path.name!r}; .npz, .npy, .csv or .parquet is wanted")


def picture(rows: np.ndarray, schema: Schema) -> Image:
    """Examples (n, *X) side by side, each of their pixels a whole number of the picture's."""
    from PIL import Image

    from isthmus.report.panels import mosaic
    from isthmus.report.shown import as_images, form_of, grey_range

    if form_of(schema) == "table" and math.isqrt(schema.size) ** 2 != schema.size:
        raise InputError(f"rows of shape {schema.event_shape} are not images; write .npz or .csv instead of .png")
    images = as_images(rows, schema, grey_range(schema, rows))
    sheet = mosaic(images, math.ceil(math.sqrt(len(images))), 1)
    zoom = max(1, 512 // max(sheet.shape))
    pixels = (sheet * 255).round().astype(np.uint8).repeat(zoom, 0).repeat(zoom, 1)
    return Image.fromarray(pixels)
