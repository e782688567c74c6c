"""Arrays: .npy and .npz, without ever opening a pickle."""

from __future__ import annotations

import math
import re
import zipfile
from pathlib import Path
from typing import IO, TYPE_CHECKING

from isthmus.data.dataset import Dataset, whole_factors
from isthmus.data.guards import need
from isthmus.errors import InputError, unknown
from isthmus.examples import Examples

if TYPE_CHECKING:
    import numpy as np


def from_npy(path: Path, source: str) -> Dataset:
    """An array (n, *X) of numbers."""
    with path.open("rb") as file:
        need(announced(file, source, path.stat().st_size), source)
        file.seek(0)
        return Dataset(source, Examples(rows_of(array_in(file), source)))


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


ROLES = ("x", "y", "lengths", "factors")
PARTS = {"": "train", "_train": "train", "_valid": "valid", "_test": "test"}
KEYS = {role + suffix: (part, role) for role in ROLES for suffix, part in PARTS.items()}
"""The keys of an .npz: part and role of each."""
NAMES = "factor_names"
"""The key of the factors' names, which all parts share."""


def from_npz(path: Path, source: str) -> Dataset:
    """`x`, or `x_train`, `x_valid`, `x_test`, with `y...`, `lengths...` and `factors...`; sequences lie end to end."""
    with zipfile.ZipFile(path) as archive:
        members = {name.removesuffix(".npy"): name for name in archive.namelist()}
        keys = keys_of(list(members), source)
        sizes = {key: archive.getinfo(members[key]).file_size for key in keys.values()}
        need(sum(sizes.values()), source)
        found: dict[str, dict[str, np.ndarray]] = {}
        for (part, role), key in keys.items():
            found.setdefault(part, {})[role] = member(archive, members[key], f"{key} of {source}")
        names = member(archive, members[NAMES], f"{NAMES} of {source}") if NAMES in members else None
    # One padded length for all parts: a model wants every row in the shape that it was trained on.
    longest = max((int(a["lengths"].max(initial=0)) for a in found.values() if "lengths" in a), default=0)
    parts = {part: part_of(arrays, longest, f"{source} ({part})") for part, arrays in found.items()}
    for part, rows in parts.items():
        if rows.x.shape[1:] != parts["train"].x.shape[1:]:
            raise InputError(
                f"the {part} rows of {source} have shape {rows.x.shape[1:]} and those to train on "
                f"{parts['train'].x.shape[1:]}; they must be alike"
            )
    factors = {part: rows.factors.shape[1] for part, rows in parts.items() if rows.factors is not None}
    if len(set(factors.values())) > 1:
        raise InputError(f"the parts of {source} have {factors} factors; they must be alike")
    named = names_of(names, next(iter(factors.values()), None), source)
    return Dataset(source, parts["train"], parts.get("valid"), parts.get("test"), factor_names=named)


def member(archive: zipfile.ZipFile, name: str, what: str) -> np.ndarray:
    """One array of an .npz."""
    with archive.open(name) as file:
        announced(file, what, archive.getinfo(name).file_size)
    with archive.open(name) as file:
        return array_in(file)


def names_of(names: np.ndarray | None, size: int | None, source: str) -> tuple[str, ...] | None:
    """Names of the factors, where both are there; InputError for another number of them, or what is no word."""
    if names is None or size is None:
        return None
    if names.shape != (size,) or names.dtype.kind not in "US":
        raise InputError(
            f"{NAMES} of {source} have shape {names.shape} and dtype {names.dtype}; words ({size},) are wanted, "
            "one for each factor"
        )
    return tuple(names.astype(str).tolist())


def keys_of(names: list[str], source: str) -> dict[tuple[str, str], str]:
    """Part and role to key; InputError for keys that are missing, doubled or misspelt. Others are left alone."""
    keys: dict[tuple[str, str], str] = {}
    for name in names:
        place = KEYS.get(name[:1].lower() + name[1:])
        if place is None:
            if re.match(rf"(?i)({'|'.join(ROLES)})_", name):
                raise InputError(f"{source}: {unknown('key', name, KEYS)}")
        elif place in keys:
            raise InputError(f"{source} holds both {keys[place]!r} and {name!r}; only one of them is wanted")
        else:
            keys[place] = name
    lost = next((name for (part, _), name in keys.items() if (part, "x") not in keys), None)
    if ("train", "x") not in keys or lost is not None:
        raise InputError(
            f"{source} holds the keys {', '.join(sorted(names)) or '(none)'}; x is wanted, or x_train with x_valid "
            "and x_test, and beside each, if you like, y..., lengths... and factors..."
        )
    return keys


def part_of(arrays: dict[str, np.ndarray], longest: int, what: str) -> Examples:
    """Rows and what goes with them; steps laid end to end are padded to `longest` with zeros."""
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
    factors = arrays.get("factors")
    if factors is not None:
        factors = whole_factors(factors, len(x), f"factors of {what}")
    return Examples(x, y, lengths=lengths, factors=factors)


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
