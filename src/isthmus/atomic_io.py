"""Atomic writing of files, and reading with errors that a user can act on."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from isthmus.errors import InputError
from isthmus.wording import one_line

TMP_PREFIX = ".part-"
"""Prefix of temporary files: those being written, or left over by a process that was killed."""


@contextlib.contextmanager
def write_errors(path: Path) -> Iterator[None]:
    """Turn any OSError raised while `path` is written into an InputError."""
    try:
        yield
    except OSError as error:
        raise InputError(f"cannot write {one_line(str(path))}: {os_reason(error)}") from None


@contextlib.contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`, with the same suffix; on success it is synced and renamed to `path`."""
    path = Path(path)
    with write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=TMP_PREFIX, suffix=path.suffix, dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            with open(temporary, "rb+") as file:
                os.fsync(file.fileno())
            os.chmod(temporary, 0o666 & ~current_umask())  # mkstemp makes files that only their owner can read
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path`, on success renamed to it; InputError if `path` holds anything already."""
    with write_errors(path):
        if path.exists() and not (path.is_dir() and not any(path.iterdir())):
            raise InputError(f"{path} exists already and is not an empty folder. Choose another one.")
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=TMP_PREFIX, dir=path.parent, ignore_cleanup_errors=True) as name:
            yield Path(name)
            os.chmod(name, 0o777 & ~current_umask())
            if path.exists():
                path.rmdir()  # on Windows, no folder can be renamed to one that exists
            os.rename(name, path)


def current_umask() -> int:
    """The umask of this process; reading it means setting it for a moment."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def os_reason(error: OSError) -> str:
    """The system's message without the error number, starting in lower case."""
    text = error.strerror or str(error)
    return text[:1].lower() + text[1:]


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file atomically."""
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, allow_nan=True) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """Read a JSON file; raises InputError if it does not exist or is not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read {path}: {os_reason(error)}") from None
    except ValueError:
        raise InputError(f"cannot read {path}: it is not valid JSON; it may be truncated") from None


def next_path(path: str) -> str:
    """The first of PATH-2, PATH-3, ... at which nothing exists; PATH-2 is followed by PATH-3 where there is a PATH.

    >>> next_path("/nowhere/run"), next_path("/nowhere/run-7")
    ('/nowhere/run-2', '/nowhere/run-7-2')
    """
    stem, _, end = path.rpartition("-")
    number = 2
    if end.isdecimal() and os.path.lexists(stem):
        path, number = stem, 1 + int(end)
    while os.path.lexists(f"{path}-{number}"):
        number += 1
    return f"{path}-{number}"
