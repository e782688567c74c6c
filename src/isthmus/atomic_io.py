"""Atomic writing of files, and reading with errors that a user can act on."""

from __future__ import annotations

import contextlib
import json
import os
import stat
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from isthmus.errors import InputError
from isthmus.wording import one_line

TMP_PREFIX = ".part-"
"""Prefix of temporary files: those being written, or left over by a process that was killed."""

MAX_JSON_BYTES = 64_000_000
"""Memory that a parsed JSON file may take, roughly; a short file may hold millions of small objects."""
NOT_FILES = {
    stat.S_IFLNK: "a link",
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
}
"""What may be found in the place of a file; anything else is a device."""


@contextlib.contextmanager
def file_errors(path: Path, verb: str = "write") -> Iterator[None]:
    """Turn any OSError raised while `path` is written, or else what `verb` says, into an InputError."""
    try:
        yield
    except OSError as error:
        raise InputError(f"cannot {verb} {one_line(str(path))}: {os_reason(error)}") from None


@contextlib.contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`, with the same suffix; on success it is synced and renamed to `path`."""
    path = Path(path)
    with file_errors(path):
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
    with file_errors(path):
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


def check_regular(path: Path) -> None:
    """Raise InputError for anything but a regular file: a link may lead anywhere, and a pipe or a device never end."""
    try:
        kind = stat.S_IFMT(path.lstat().st_mode)
    except (OSError, ValueError) as error:  # ValueError: a path with a null byte
        raise InputError(f"cannot read {path}: {os_reason(error) if isinstance(error, OSError) else error}") from None
    if kind != stat.S_IFREG:
        hint = " Copy the folder with its files in the place of links (cp -rL)." if kind == stat.S_IFLNK else ""
        raise InputError(f"{path} must be a file, got {NOT_FILES.get(kind, 'a device')}.{hint}")


def read_bytes(path: Path, most: int) -> bytes:
    """The bytes of a regular file; raises InputError for any other, and for more than `most` bytes."""
    check_regular(path)
    with file_errors(path, "read"):
        if path.stat().st_size > most:
            raise InputError(f"{path} must be at most {most / 1e6:,.0f} MB, got {path.stat().st_size / 1e6:,.0f} MB.")
        return path.read_bytes()


def json_nbytes(data: bytes) -> int:
    """Memory that JSON text takes once parsed, in bytes, estimated from above: text, numbers, lists and dicts."""
    per_character = 2 if data.isascii() else 9  # the text as bytes and as characters, of up to four bytes each
    return per_character * len(data) + 64 * data.count(b",") + 80 * data.count(b"[") + 240 * data.count(b"{")


def parse_json(data: bytes, name: Path, most: int = MAX_JSON_BYTES) -> Any:
    """The value of JSON text; raises InputError if it is not JSON or would take more than `most` bytes."""
    if json_nbytes(data) > most:
        raise InputError(f"{name} is too large to be read: it would take more than {most / 1e6:,.0f} MB of memory.")
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise InputError(f"cannot read {name}: it is not valid JSON; it may be truncated") from None


def read_json(path: Path, most: int = MAX_JSON_BYTES) -> Any:
    """Read a JSON file; raises InputError if there is none, it is not JSON, or would take more than `most` bytes."""
    return parse_json(read_bytes(path, most), path, most)


def next_path(path: str, taken: Collection[str] = ()) -> str:
    """The first of PATH-2, PATH-3, ... at which nothing exists; PATH-2 is followed by PATH-3 where there is a PATH.

    Args:
        path: that is not free.
        taken: further paths that are not.

    >>> next_path("/nowhere/run"), next_path("/nowhere/run-7")
    ('/nowhere/run-2', '/nowhere/run-7-2')
    """
    stem, _, end = path.rpartition("-")
    number = 2
    if end.isdecimal() and os.path.lexists(stem):
        path, number = stem, 1 + int(end)
    while os.path.lexists(f"{path}-{number}") or f"{path}-{number}" in taken:
        number += 1
    return f"{path}-{number}"
