"""Reading: built-in names, arrays (.npy, .npz), tables (.csv, .parquet), folders of images.

Heavy modules are imported where they are used, so that listing what there is starts at once.
"""

from __future__ import annotations

import contextlib
import csv
import difflib
import itertools
import math
import re
import warnings
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from isthmus.errors import InputError, unknown
from isthmus.files import reason

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

BUILT_IN = {
    "digits": "1,797 images of handwritten digits, 8 x 8 pixels of 17 grey levels, ten classes",
    "wine": "a table of 178 wines, 13 chemical measurements, three cultivars",
    "iris": "a table of 150 flowers, 4 measurements, three species",
    "breast_cancer": "a table of 569 tumours, 30 measurements, two diagnoses",
    "mnist": "70,000 images of handwritten digits, 28 x 28 bytes, ten classes (downloaded at first use)",
    "fashion_mnist": "70,000 images of clothes, 28 x 28 bytes, ten classes (downloaded at first use)",
    "olivetti_faces": "400 images of 40 faces, 64 x 64 floats from 0 to 1 (downloaded at first use)",
}
"""Names that `read` knows, and what each is in a line."""

FILES = (".npy", ".npz", ".csv", ".parquet")
IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm", ".pbm")
SHARE_OF_MEMORY = 0.8
"""How much of the free memory data may take: training needs some beside them."""


class Part(NamedTuple):
    """Rows (n, *X), an array or a table with its names, their labels (n,) and, for padded sequences, lengths (n,)."""

    x: np.ndarray | pd.DataFrame
    y: np.ndarray | None = None
    lengths: np.ndarray | None = None


@dataclass(frozen=True)
class Dataset:
    """What was read: rows to train on, and rows to validate and test on where the source has them."""

    source: str
    train: Part
    valid: Part | None = None
    test: Part | None = None
    levels: int | None = None
    """Grey levels, where they are not the 256 of bytes."""


def read(source: str | Path, *, condition: str | None = None) -> Dataset:
    """The data behind a built-in name or a path; `condition` names the column of a table that becomes the labels.

    Raises InputError for what is not there, cannot be read, is larger than memory or holds no numbers.
    """
    name = str(source)
    path = Path(source)
    if name in BUILT_IN:
        data = built_in(name)
    else:
        with reading(name):
            data = at_path(path, name)
    return labelled(data, condition)


@contextlib.contextmanager
def reading(what: str) -> Iterator[None]:
    """Whatever the readers of a format raise on a damaged or foreign file, as one line."""
    try:
        yield
    except InputError:
        raise
    except MemoryError:
        raise InputError(f"{what} does not fit in memory; take fewer rows or a smaller type") from None
    except OSError as error:
        raise InputError(f"cannot read {what}: {one_line(reason(error))}") from None
    except UnicodeDecodeError:
        raise InputError(f"cannot read {what}: its text is not UTF-8; save it so") from None
    # Parsers have errors of many kinds (zlib, struct, tokenize, pyarrow): a damaged file may raise any of them.
    except Exception as error:
        raise InputError(f"cannot read {what}: it is truncated or of another kind ({one_line(str(error))})") from None


def one_line(text: str) -> str:
    """A message without line breaks or anything else that a terminal cannot show, not longer than a line or two."""
    text = "".join(c if c.isprintable() else "?" for c in " ".join(text.split()))
    return text if len(text) <= 160 else text[:157] + "..."


# -------------------------------------------------------------------- built-in


def built_in(name: str) -> Dataset:
    """A built-in set by name; InputError where it must be downloaded and cannot be."""
    if name == "digits":
        from sklearn.datasets import load_digits

        digits = load_digits()
        return Dataset(name, Part(digits.images.astype("uint8"), digits.target), levels=17)
    if name in ("mnist", "fashion_mnist"):
        x, y = downloaded(name, _openml)
        return Dataset(name, Part(x[:60_000], y[:60_000]), test=Part(x[60_000:], y[60_000:]))
    if name == "olivetti_faces":
        return Dataset(name, Part(*downloaded(name, _faces)))
    from sklearn import datasets

    table = getattr(datasets, f"load_{name}")(as_frame=True)
    return Dataset(name, Part(table.data.astype("float64"), table.target.to_numpy()))


def _openml(name: str) -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import fetch_openml

    title = {"mnist": "mnist_784", "fashion_mnist": "Fashion-MNIST"}[name]
    x, y = fetch_openml(title, version=1, as_frame=False, return_X_y=True, n_retries=1)
    return x.reshape(-1, 28, 28).astype("uint8"), y.astype("int64")


def _faces(name: str) -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import fetch_olivetti_faces

    faces = fetch_olivetti_faces(n_retries=1)
    return faces.images, faces.target


def downloaded(name: str, fetch: Callable[[str], tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """What `fetch(name)` gives; InputError says what to do without a network."""
    from http.client import HTTPException

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # scikit-learn warns before each retry; one line at the end is enough
            return fetch(name)
    except (OSError, HTTPException, ValueError) as error:
        why = one_line(str(getattr(error, "reason", "") or error)) or type(error).__name__
        raise InputError(
            f"cannot download {name}: {why}; without a network give the path of a file with it, "
            f"e.g. {name}.npz with the keys x_train, y_train, x_test, y_test"
        ) from None


# ----------------------------------------------------------------------- paths


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


def free_memory() -> int | None:
    """Bytes that can still be had, where the system tells."""
    with contextlib.suppress(OSError), open("/proc/meminfo") as lines:
        for line in lines:
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return None


def need(size: int, what: str) -> None:
    """Raise InputError where `size` bytes are more than memory can well hold."""
    free = free_memory()
    if free is not None and size > SHARE_OF_MEMORY * free:
        raise InputError(
            f"{what} takes {size / 1e9:,.1f} GB in memory and {free / 1e9:,.1f} GB are free; "
            "take fewer rows or a smaller type (float32, uint8)"
        )


# ---------------------------------------------------------------------- arrays


def from_npy(path: Path, source: str) -> Dataset:
    """An array (n, *X) of numbers."""
    with path.open("rb") as file:
        need(announced(file, source, path.stat().st_size), source)
        file.seek(0)
        return Dataset(source, Part(rows_of(array_in(file), source)))


def announced(file: IO[bytes], what: str, size: int) -> int:
    """Bytes of the array that the header of a .npy file of `size` bytes announces.

    Raises InputError where that is more than there is, and for Python objects, which are never loaded.
    """
    from numpy.lib import format as npy

    version = npy.read_magic(file)
    shape, _, dtype = npy.read_array_header_1_0(file) if version == (1, 0) else npy.read_array_header_2_0(file)
    if dtype.hasobject:
        raise InputError(
            f"{what} holds Python objects (pickle), which are never loaded; save numbers (X.astype(float)) "
            "or words (y.astype(str))"
        )
    wanted = math.prod(shape) * dtype.itemsize
    if file.tell() + wanted > size:
        raise InputError(f"cannot read {what}: it is truncated ({size:,} of {file.tell() + wanted:,} bytes are there)")
    return wanted


def array_in(file: IO[bytes]) -> np.ndarray:
    """The array of a .npy file, in the machine's byte order."""
    from numpy.lib import format as npy

    array = npy.read_array(file, allow_pickle=False)
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def rows_of(x: np.ndarray, what: str) -> np.ndarray:
    """The array, where it is rows of numbers; else InputError."""
    if x.dtype.kind not in "biuf":
        raise InputError(f"{what} has dtype {x.dtype}; numbers are wanted")
    if x.ndim < 2:
        raise InputError(f"{what} has shape {x.shape}; rows are wanted: (n, d), (n, h, w) or (n, h, w, c)")
    return x


PARTS = {"": "train", "_train": "train", "_valid": "valid", "_test": "test"}
KEYS = {role + suffix: (part, role) for role in ("x", "y", "lengths") for suffix, part in PARTS.items()}
"""The keys of an .npz: part and role of each."""


def from_npz(path: Path, source: str) -> Dataset:
    """`x`, or `x_train`, `x_valid`, `x_test`, with `y...` and `lengths...`; sequences lie end to end."""
    with zipfile.ZipFile(path) as archive:
        members = {name.removesuffix(".npy"): name for name in archive.namelist()}
        keys = keys_of(list(members), source)
        sizes = {key: archive.getinfo(members[key]).file_size for key in keys.values()}
        need(sum(sizes.values()), source)
        found: dict[str, dict[str, np.ndarray]] = {}
        for (part, role), key in keys.items():
            with archive.open(members[key]) as file:
                announced(file, f"{key} of {source}", sizes[key])
            with archive.open(members[key]) as file:
                found.setdefault(part, {})[role] = array_in(file)
    # One padded length for all parts: a model wants every row in the shape that it was trained on.
    longest = max((int(a["lengths"].max(initial=0)) for a in found.values() if "lengths" in a), default=0)
    parts = {part: part_of(arrays, longest, f"{source} ({part})") for part, arrays in found.items()}
    for part, rows in parts.items():
        if rows.x.shape[1:] != parts["train"].x.shape[1:]:
            raise InputError(
                f"the {part} rows of {source} have shape {rows.x.shape[1:]} and those to train on "
                f"{parts['train'].x.shape[1:]}; they must be alike"
            )
    return Dataset(source, parts["train"], parts.get("valid"), parts.get("test"))


def keys_of(names: list[str], source: str) -> dict[tuple[str, str], str]:
    """Part and role to key; InputError for keys that are missing, doubled or misspelt. Others are left alone."""
    keys: dict[tuple[str, str], str] = {}
    for name in names:
        place = KEYS.get(name[:1].lower() + name[1:])
        if place is None:
            if re.match(r"(?i)(x|y|lengths)_", name):
                raise InputError(f"{source}: {unknown('key', name, KEYS)}")
        elif place in keys:
            raise InputError(f"{source} holds both {keys[place]!r} and {name!r}; only one of them is wanted")
        else:
            keys[place] = name
    lost = next((name for (part, _), name in keys.items() if (part, "x") not in keys), None)
    if ("train", "x") not in keys or lost is not None:
        raise InputError(
            f"{source} holds the keys {', '.join(sorted(names)) or '(none)'}; x is wanted, or x_train with x_valid "
            "and x_test, and beside each, if you like, y... and lengths..."
        )
    return keys


def part_of(arrays: dict[str, np.ndarray], longest: int, what: str) -> Part:
    """Rows, labels and lengths that go together; steps laid end to end are padded to `longest` with zeros."""
    x, y, lengths = arrays["x"], arrays.get("y"), arrays.get("lengths")
    if lengths is not None:
        if lengths.ndim != 1 or lengths.dtype.kind not in "iu" or lengths.min(initial=1) < 1:
            raise InputError(f"lengths of {what} are wanted as whole numbers (n,) of at least 1")
        lengths = lengths.astype("int64")
        if not (x.ndim == 3 and len(x) == len(lengths)):
            x = padded(x, lengths, longest, what)
    x = rows_of(x, f"x of {what}")
    if y is not None:
        y = y.astype(str) if y.dtype.kind == "S" else y
        if y.ndim == 0 or len(y) != len(x):
            raise InputError(f"y of {what} has shape {y.shape} and there are {len(x)} rows; one label a row is wanted")
    return Part(x, y, lengths)


def padded(steps: np.ndarray, lengths: np.ndarray, longest: int, what: str) -> np.ndarray:
    """Steps end to end (total, d) to sequences (n, longest, d), zeros after each one's end."""
    import numpy as np

    if steps.ndim == 1:
        steps = steps[:, None]
    if steps.ndim != 2 or len(steps) != lengths.sum():
        raise InputError(
            f"x of {what} has shape {steps.shape} and the lengths sum to {lengths.sum()}; all steps end to end "
            f"({lengths.sum()}, d) are wanted"
        )
    shape = (len(lengths), longest, steps.shape[1])
    need(math.prod(shape) * steps.itemsize, f"{what}, padded to {longest} steps,")
    x = np.zeros(shape, steps.dtype)
    x[np.arange(longest) < lengths[:, None]] = steps
    return x


# ---------------------------------------------------------------------- tables


def from_csv(path: Path, source: str) -> Dataset:
    """A table in UTF-8, its columns apart by comma, semicolon or tab; a first line of bare numbers is a row."""
    import pandas as pd

    need(path.stat().st_size, source)
    with path.open(encoding="utf-8-sig", newline="") as file:
        line = next((line for line in file if line.strip()), "")
    separator = next((s for s in ",;\t" if s in line), ",")
    names = [name.strip() for name in next(csv.reader([line], delimiter=separator), [])]
    with path.open(encoding="utf-8-sig", newline="") as file, warnings.catch_warnings():
        # A row longer than the header would lose its end, or become an index, with no more than a warning.
        warnings.simplefilter("error", pd.errors.ParserWarning)
        frame = pd.read_csv(
            file,
            sep=separator,
            header=None if is_row(names) else 0,
            index_col=False,
            skipinitialspace=True,
            low_memory=False,
        )
    if names and names[0] == "" and list(frame.iloc[:, 0]) == list(range(len(frame))):
        frame = frame.iloc[:, 1:]  # the index that pandas writes
    return Dataset(source, Part(frame.rename(columns=lambda name: str(name).strip())))


def is_row(names: list[str]) -> bool:
    """Whether the first line of a table is numbers, not names; numbers that count up by one (0, 1, 2) are names."""
    try:
        numbers = [float(name) for name in names]
    except ValueError:
        return False
    counted = (len(names) > 1 or numbers == [0.0]) and numbers[0] % 1 == 0
    return not (counted and all(b - a == 1 for a, b in itertools.pairwise(numbers)))


def from_parquet(path: Path, source: str) -> Dataset:
    """A table with its names and types."""
    import pandas as pd
    from pyarrow import parquet

    with path.open("rb") as file:
        about = parquet.ParquetFile(file).metadata
        need(8 * about.num_rows * about.num_columns, source)
    with path.open("rb") as file:
        frame = pd.read_parquet(file)
    return Dataset(source, Part(frame.rename(columns=str)))


def labelled(data: Dataset, condition: str | None) -> Dataset:
    """The same data, tables checked to be numbers, and the column `condition` taken out of them to be the labels."""
    import numpy as np

    x, y = data.train.x, data.train.y
    if isinstance(x, np.ndarray):
        if condition is not None:
            also = "; its labels (y) are the condition already" if y is not None else ""
            raise InputError(
                f"condition {condition!r} names a column of a table, and {data.source} has no columns{also}"
            )
        return data
    if condition is not None:
        if condition not in x.columns:
            raise unknown("column", condition, x.columns)
        y, x = labels(x[condition], condition), x.drop(columns=condition)
    if not len(x.columns):
        raise InputError(f"{data.source} has no columns of numbers; at least one is wanted")
    numbers, words = as_numbers(x)
    if words:
        more = f", and {len(words) - 1} more columns do" if len(words) > 1 else ""
        raise InputError(f"{data.source}: {words[0].message}{more}; {words[0].remedy}")
    return Dataset(data.source, Part(numbers, y))


def labels(column: pd.Series, name: str) -> np.ndarray:
    """A column as labels (n,): numbers stay numbers, anything else becomes words."""
    lost = int(column.isna().sum())
    if lost:
        raise InputError(
            f"column {name!r} is the condition and is empty in {lost} of {len(column)} rows; fill it in or drop them"
        )
    if getattr(column.dtype, "kind", "O") in "biuf":
        return own_type(column)
    return column.astype(str).to_numpy(dtype=str)


def own_type(column: pd.Series) -> np.ndarray:
    """A column of numbers without gaps in NumPy's type of the same kind and size."""
    dtype: Any = getattr(column.dtype, "subtype", column.dtype)  # of a sparse column, what it is made of
    return column.to_numpy(dtype=f"{dtype.kind}{dtype.itemsize}")


class Words(NamedTuple):
    """A column that is not numbers: in how many of its rows, and the first value that is none."""

    column: str
    rows: int
    of: int
    first: Any

    @property
    def message(self) -> str:
        return f"column {self.column!r} holds words in {self.rows} of {self.of} rows ({self.first!r} first)"

    @property
    def remedy(self) -> str:
        few = "fill those in or drop their rows" if 2 * self.rows < self.of else "encode it (pandas.get_dummies)"
        return f"numbers are wanted: drop the column, {few}, or make it the condition: --condition {self.column}"


def as_numbers(frame: pd.DataFrame) -> tuple[pd.DataFrame, list[Words]]:
    """The columns that are numbers, in NumPy's types and NaN where empty, and what is known of those that are not."""
    import pandas as pd

    columns = [(str(name), numeric(column)) for name, column in frame.items()]
    words = [found for _, found in columns if isinstance(found, Words)]
    numbers = [(name, found) for name, found in columns if not isinstance(found, Words)]
    # By place, for names may be double.
    table = pd.DataFrame(dict(enumerate(found for _, found in numbers)), index=frame.index)
    return table.set_axis([name for name, _ in numbers], axis=1), words


def numeric(column: pd.Series) -> np.ndarray | Words:
    """A column as an array (n,): truth values as 0 and 1, words that spell numbers as those; else its `Words`."""
    import pandas as pd

    kind = getattr(column.dtype, "kind", "O")
    if kind in "biuf":
        if column.isna().any():
            return column.to_numpy(dtype="float64", na_value=float("nan"))
        return own_type(column).view("uint8") if kind == "b" else own_type(column)
    filled = column.dropna()
    if kind not in "mMc":  # dates and complex numbers would be forced into numbers
        with contextlib.suppress(TypeError, ValueError):
            values = pd.to_numeric(column.astype(object), errors="coerce")
            filled = column[values.isna() & column.notna()]
            if filled.empty:
                return values.to_numpy(dtype="float64" if values.isna().any() else None)
    first = filled.iloc[0] if len(filled) else None
    return Words(str(column.name), len(filled), len(column), first if isinstance(first, str) else str(first))


# ---------------------------------------------------------------------- images


def from_folder(folder: Path, source: str) -> Dataset:
    """Images of one size, in the order of their names; the subfolders that they lie in are their labels.

    Subfolders named train, valid and test are parts of the data, each a folder of images.
    """
    parts = {entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith(".")}
    if "train" in parts and parts <= {"train", "valid", "test"}:
        train, valid, test = (images_of(folder / p, source) if p in parts else None for p in ("train", "valid", "test"))
        for part in (valid, test):
            if part is not None and train is not None and part.x.shape[1:] != train.x.shape[1:]:
                raise InputError(
                    f"images of shape {part.x.shape[1:]} and {train.x.shape[1:]} in the parts of {source}; "
                    "they must be alike"
                )
        assert train is not None
        return Dataset(source, train, valid, test)
    return Dataset(source, images_of(folder, source))


def images_of(folder: Path, source: str) -> Part:
    """Images as bytes: (n, h, w) grey, 0 and 1 where they are one-bit, or (n, h, w, 3) colour; no transparency."""
    import numpy as np

    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in IMAGES and not p.name.startswith("."))
    if not paths:
        raise InputError(f"no images in {folder}; {', '.join(IMAGES)} are read")
    homes = [path.relative_to(folder).parts[:-1] for path in paths]
    if any(homes) and not all(homes):
        raise InputError(f"images lie in {folder} and in folders in it; labels are known for none or for all of them")
    first = pixels(paths[0])
    need(len(paths) * first.nbytes, source)
    x = np.empty((len(paths), *first.shape), np.uint8)
    for row, path in zip(x, paths):
        image = pixels(path)
        if image.shape != first.shape or image.dtype != first.dtype:
            raise InputError(
                f"{path} is {spelled(image)} and {paths[0].name} {spelled(first)}; images of one size and mode "
                "are wanted"
            )
        row[...] = image
    return Part(x, np.array([home[0] for home in homes]) if all(homes) else None)


def spelled(image: np.ndarray) -> str:
    """Size and mode in words."""
    mode = "one-bit" if image.dtype == bool else "colour" if image.ndim == 3 else "grey"
    return f"{image.shape[1]} x {image.shape[0]} {mode}"


MODES = {"1": "1", "L": "L", "LA": "L", "RGB": "RGB", "RGBA": "RGB", "P": "RGB", "PA": "RGB", "CMYK": "RGB"}
"""Pillow's modes, and what each is read as."""


def pixels(path: Path) -> np.ndarray:
    """One image: (h, w) bytes or truth values, or (h, w, 3) bytes; turned as its camera says."""
    import numpy as np
    from PIL import Image, ImageOps, UnidentifiedImageError

    with reading(str(path)), path.open("rb") as file:
        try:
            image = Image.open(file)
        except UnidentifiedImageError:
            raise InputError(f"cannot read {path}: it is not an image") from None
        if image.mode not in MODES:
            raise InputError(f"{path} has mode {image.mode}; grey or colour of 8 bits is wanted")
        return np.asarray(ImageOps.exif_transpose(image).convert(MODES[image.mode]))
