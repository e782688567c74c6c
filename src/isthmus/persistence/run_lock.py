"""A lock on the folder of a run: one process at a time trains or saves there."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from types import TracebackType

from isthmus.errors import InputError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


class RunLock:
    """A context in which no other process writes to a run's folder.

    The lock is on the folder itself and leaves no file behind; the system releases it when the process ends, however it
    ends. Where the system has no such locks, as on Windows and some network file systems, there is none.

    Args:
        folder: locked on entering if it exists; `acquire` locks one that was made since.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Lock the folder, if this is not done yet; raises InputError if another process holds it."""
        if fcntl is None or self._descriptor is not None:
            return
        with contextlib.suppress(OSError):
            descriptor = os.open(self.folder, os.O_RDONLY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                raise InputError(
                    f"{self.folder} is in use: another process trains or saves there. Wait for it, or choose another "
                    "folder."
                ) from None
            except OSError:
                os.close(descriptor)
                raise
            self._descriptor = descriptor

    def __enter__(self) -> RunLock:
        if self.folder.is_dir():
            self.acquire()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None):
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
