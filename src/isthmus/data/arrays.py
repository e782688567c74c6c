"""Arrays: .npy and .npz, without ever unpickling."""

from __future__ import annotations

import math
import re
import zipfile
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from isthmus.data.dataset import Dataset, check_factors
from isthmus.data.guards import require_memory
from isthmus.errors import InputError, unknown
from isthmus.examples import Examples
from isthmus.wording import join_names, one_line

if TYPE_CHECKING:
    import numpy as np

FIELDS = ("x", "y", "lengths", "factors")
SUFFIXES = {"": "train", "_train": "train", "_valid": "valid", "_test": "test"}
KEYS = {field + suffix: (part, field) for field in FIELDS for suffix, part in SUFFIXES.items()}
"""Keys of an .npz, and the part and the field of `Examples` that each of them holds."""
SPARSE_KEYS = {"data", "format", "shape"}
"""Keys that every sparse matrix of SciPy has in its file."""
SPARSE_FORMATS = ("csr", "csc", "bsr", "coo")
FACTOR_NAMES_KEY = "factor_names"
"""Key of the names of the factors, which all parts share."""


def from_npy(path: Path, source: str) -> Dataset:
    """Read a numeric array (n, *X)."""
    with path.open("rb") as file:
        require_memory(npy_header_nbytes(file, source, path.stat().st_size), source)
        file.seek(0)
        return Dataset(source, Examples(check_numeric(read_npy(file), source)))


def npy_header_nbytes(file: IO[bytes], name: str, size: int) -> int:
    """The size in bytes of the array that a .npy header announces; `size` is that of the whole file.

    Raises:
        InputError: if the file is shorter than announced, or holds Python objects, which would have to be unpickled.
    """
    from numpy.lib import format as npy

    version = npy.read_magic(file)
    shape, _, dtype = npy.read_array_header_1_0(file) if version == (1, 0) else npy.read_array_header_2_0(file)
    if dtype.hasobject:
        raise InputError(
            f"{name} holds Python objects (pickle), which are never loaded. "
            "Save numbers (X.astype(float)) or strings (y.astype(str))."
        )
    n_bytes = math.prod(shape) * dtype.itemsize
    expected = file.tell() + n_bytes
    if expected > size:
        raise InputError(f"cannot read {name}: the file is truncated ({size:,} of {expected:,} bytes)")
    return n_bytes


def read_npy(file: IO[bytes]) -> np.ndarray:
    """The array of a .npy file, in native byte order."""
    from numpy.lib import format as npy

    array = npy.read_array(file, allow_pickle=False)
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def check_numeric(x: np.ndarray, name: str) -> np.ndarray:
    """The array itself; InputError unless it is numeric and has rows."""
    if x.dtype.kind not in "biuf":
        raise InputError(f"{name} must be numeric, got dtype {x.dtype}.")
    if x.ndim < 2:
        raise InputError(f"{name} must have shape (n, d), (n, h, w) or (n, h, w, c), got {x.shape}.")
    return x


def from_npz(path: Path, source: str) -> Dataset:
    """Read `x`, or `x_train`, `x_valid` and `x_test`, with `y...`, `lengths...` and `factors...` beside them.

    What `scipy.sparse.save_npz` wrote is read as one array.

    With lengths, x is either padded sequences (n, t, d), or the steps of all sequences end to end, (total, d).
    """
    with zipfile.ZipFile(path) as archive:
        members = {name.removesuffix(".npy"): name for name in archive.namelist()}
        if set(members) >= SPARSE_KEYS:
            return Dataset(source, Examples(read_sparse(path, archive, source)))
        keys = match_keys(list(members), source)
        sizes = {key: archive.getinfo(members[key]).file_size for key in keys.values()}
        require_memory(sum(sizes.values()), source)
        arrays: dict[str, dict[str, np.ndarray]] = {}
        for (part, field), key in keys.items():
            arrays.setdefault(part, {})[field] = read_member(archive, members[key], f"{key} of {source}")
        names = (
            read_member(archive, members[FACTOR_NAMES_KEY], f"{FACTOR_NAMES_KEY} of {source}")
            if FACTOR_NAMES_KEY in members
            else None
        )
    # All parts are padded to one length: a model reads rows of the shape that it was trained on.
    max_length = max((int(a["lengths"].max(initial=0)) for a in arrays.values() if "lengths" in a), default=0)
    parts = {part: build_examples(fields, max_length, f"{source} ({part})") for part, fields in arrays.items()}
    for part, examples in parts.items():
        if examples.x.shape[1:] != parts["train"].x.shape[1:]:
            raise InputError(
                f"all parts of {source} must have rows of the same shape, got {examples.x.shape[1:]} ({part}) and "
                f"{parts['train'].x.shape[1:]} (train)."
            )
    n_factors = {part: examples.factors.shape[1] for part, examples in parts.items() if examples.factors is not None}
    if len(set(n_factors.values())) > 1:
        raise InputError(f"all parts of {source} must have the same number of factors, got {n_factors}.")
    factor_names = check_factor_names(names, next(iter(n_factors.values()), None), source)
    return Dataset(source, parts["train"], parts.get("valid"), parts.get("test"), factor_names=factor_names)


def read_sparse(path: Path, archive: zipfile.ZipFile, source: str) -> np.ndarray:
    """The matrix that `scipy.sparse.save_npz` wrote, as an array (n, d).

    Raises:
        InputError: for a matrix that does not fit into memory as an array, and one whose indices leave its shape.
    """
    from scipy import sparse

    require_memory(sum(entry.file_size for entry in archive.infolist()), source)
    for entry in archive.infolist():
        with archive.open(entry) as file:
            npy_header_nbytes(file, f"{entry.filename.removesuffix('.npy')} of {source}", entry.file_size)
    matrix = sparse.load_npz(path)  # never unpickles
    if matrix.format not in SPARSE_FORMATS:
        raise InputError(
            f"{source} must be a sparse matrix of format {', '.join(SPARSE_FORMATS)}, got {matrix.format!r}. Save "
            "X.tocsr()."
        )
    if matrix.format != "coo":  # which is checked as it is made
        matrix.check_format(full_check=True)  # `toarray` would write to wherever a wrong index leads
    require_memory(math.prod(matrix.shape) * matrix.dtype.itemsize, f"{source}, a sparse matrix, as an array,")
    return check_numeric(matrix.toarray(), source)


def read_member(archive: zipfile.ZipFile, member: str, name: str) -> np.ndarray:
    """One array of an .npz; `name` is how error messages call it."""
    with archive.open(member) as file:
        npy_header_nbytes(file, name, archive.getinfo(member).file_size)
    with archive.open(member) as file:
        return read_npy(file)


def check_factor_names(names: np.ndarray | None, n_factors: int | None, source: str) -> tuple[str, ...] | None:
    """The names of the factors; None without names or without factors."""
    if names is None or n_factors is None:
        return None
    if names.shape != (n_factors,) or names.dtype.kind not in "US":
        raise InputError(
            f"{FACTOR_NAMES_KEY} of {source} must be {n_factors} strings, one for each factor, got dtype "
            f"{names.dtype} and shape {names.shape}."
        )
    return tuple(names.astype(str).tolist())


def match_keys(names: list[str], source: str) -> dict[tuple[str, str], str]:
    """(part, field) of each known key; X may be a capital, and keys that are not meant for isthmus are ignored.

    Raises:
        InputError: for keys that are missing, given twice or misspelt.
    """
    keys: dict[tuple[str, str], str] = {}
    for name in names:
        place = KEYS.get(name[:1].lower() + name[1:])
        if place is None:
            if re.match(rf"(?i)({'|'.join(FIELDS)})_", name):
                raise unknown(f"key of {source}", name, KEYS)
        elif place in keys:
            raise InputError(f"{source} has both keys {keys[place]!r} and {name!r}. Remove one of them.")
        else:
            keys[place] = name
    without_x = any((part, "x") not in keys for part, _ in keys)
    if ("train", "x") not in keys or without_x:
        raise InputError(
            f"{source} must have the key x, or x_train and optionally x_valid and x_test, got the keys "
            f"{one_line(join_names(sorted(names))) or '(none)'}. Each may come with y..., lengths... and factors...; "
            "or write a sparse matrix by scipy.sparse.save_npz."
        )
    return keys


def build_examples(fields: dict[str, Any], max_length: int, name: str) -> Examples:
    """The examples of one part, checked; steps given end to end become sequences padded to `max_length`."""
    x, y, lengths, factors = fields["x"], fields.get("y"), fields.get("lengths"), fields.get("factors")
    if lengths is not None:
        if lengths.ndim != 1 or lengths.dtype.kind not in "iu" or lengths.min(initial=1) < 1:
            raise InputError(
                f"lengths of {name} must be integers >= 1 of shape (n,), got dtype {lengths.dtype}, shape "
                f"{lengths.shape} and minimum {lengths.min(initial=1)}."
            )
        lengths = lengths.astype("int64")
        if not (x.ndim == 3 and len(x) == len(lengths)):
            x = pad_sequences(x, lengths, max_length, name)
    x = check_numeric(x, f"x of {name}")
    if y is not None:
        y = y.astype(str) if y.dtype.kind == "S" else y
        if y.ndim == 0 or len(y) != len(x):
            raise InputError(f"y of {name} must have one label for each of the {len(x)} rows, got shape {y.shape}.")
    if factors is not None:
        factors = check_factors(factors, len(x), f"factors of {name}")
    return Examples(x, y, lengths=lengths, factors=factors)


def pad_sequences(steps: np.ndarray, lengths: np.ndarray, max_length: int, name: str) -> np.ndarray:
    """Steps end to end (total, d) as sequences (n, max_length, d), padded with zeros at the end."""
    import numpy as np

    if steps.ndim == 1:
        steps = steps[:, None]
    if steps.ndim != 2 or len(steps) != lengths.sum():
        raise InputError(
            f"x of {name} must have shape ({lengths.sum()}, d), the steps of all sequences end to end, because its "
            f"lengths sum to {lengths.sum()}, got {steps.shape}."
        )
    shape = (len(lengths), max_length, steps.shape[1])
    require_memory(math.prod(shape) * steps.itemsize, f"{name} padded to {max_length} steps")
    x = np.zeros(shape, steps.dtype)
    x[np.arange(max_length) < lengths[:, None]] = steps
    return x
