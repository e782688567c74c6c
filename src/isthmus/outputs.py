"""Arrays to files: .npz, .npy, .csv, .parquet, and images as .png."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from isthmus.errors import InputError
from isthmus.files import reason, written
from isthmus.schema import Schema

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
            grid(main, schema).save(part)
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


def grid(rows: np.ndarray, schema: Schema):
    """Images (n, h, w[, c]), or square flat ones, side by side as a picture."""
    from PIL import Image

    side = math.isqrt(schema.size)
    if not schema.image:
        if side * side != schema.size:
            raise InputError(f"rows of shape {schema.event_shape} are not images; write .npz or .csv instead of .png")
        rows = rows.reshape(-1, side, side)
    top = schema.levels - 1 if schema.kind == "levels" and schema.levels else 1.0 if rows.max() <= 1 else rows.max()
    grey = np.clip(np.asarray(rows, np.float64) / top * 255, 0, 255).round().astype(np.uint8)
    wide = max(1, math.ceil(math.sqrt(len(grey))))
    high = math.ceil(len(grey) / wide)
    h, w = grey.shape[1:3]
    sheet = np.zeros((high * h, wide * w, *grey.shape[3:]), np.uint8)
    for i, image in enumerate(grey):
        row, column = divmod(i, wide)
        sheet[row * h : (row + 1) * h, column * w : (column + 1) * w] = image
    if sheet.ndim == 3 and sheet.shape[-1] == 1:
        sheet = sheet[..., 0]
    picture = Image.fromarray(sheet)
    zoom = max(1, 512 // max(picture.size))
    return picture.resize((picture.width * zoom, picture.height * zoom), Image.Resampling.NEAREST)
