"""Files written in full or not at all, and read with errors that a user can act on."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from isthmus.errors import InputError

PART = ".part-"
"""How the names of files begin that are being written, or whose writing broke off."""


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """What the system has against writing a file, as one line."""
    try:
        yield
    except OSError as error:
        raise InputError(f"cannot write {path}: {reason(error)}") from None


@contextlib.contextmanager
def written(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path` (same suffix) that takes its place once it is complete and on the disk."""
    path = Path(path)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=PART, suffix=path.suffix, dir=path.parent)
        os.close(handle)
        part = Path(name)
        try:
            yield part
            with open(part, "rb+") as file:
                os.fsync(file.fileno())
            os.chmod(part, 0o666 & ~mask_of_process())
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)


def mask_of_process() -> int:
    """The permissions that this process takes from new files."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def reason(error: OSError) -> str:
    """What the system says, in lower case and without numbers."""
    text = error.strerror or str(error)
    return text[:1].lower() + text[1:]


def write_json(path: Path, value: Any) -> None:
    """A JSON file, in full or not at all."""
    with written(path) as part:
        part.write_text(json.dumps(value, indent=2, allow_nan=True) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """A JSON file; InputError where there is none, or none that can be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read {path}: {reason(error)}") from None
    except ValueError:
        raise InputError(f"{path} is not JSON: it is truncated, or not a file of isthmus") from None
