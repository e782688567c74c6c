"""Guards around reading: damaged or foreign files, and data larger than memory, each as a one-line error."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from isthmus.atomic_io import os_reason
from isthmus.errors import InputError
from isthmus.wording import one_line

MAX_MEMORY_FRACTION = 0.8
"""Largest fraction of the free memory that data may take; training needs the rest."""


@contextlib.contextmanager
def read_errors(source: str) -> Iterator[None]:
    """Turn whatever a format's reader raises on a damaged or foreign file into a one-line InputError."""
    try:
        yield
    except InputError:
        raise
    except MemoryError:
        raise InputError(f"{source} does not fit into memory. Use fewer rows or a smaller dtype.") from None
    except OSError as error:
        raise InputError(f"cannot read {source}: {one_line(os_reason(error))}") from None
    except UnicodeDecodeError:
        raise InputError(f"cannot read {source}: its text is not UTF-8. Save it as UTF-8.") from None
    # Parsers raise errors of many types (zlib, struct, tokenize, pyarrow), and a damaged file may trigger any of them.
    except Exception as error:
        raise InputError(
            f"cannot read {source}: the file is truncated or of another format ({one_line(str(error))})"
        ) from None


def free_memory() -> int | None:
    """Memory in bytes that this process may still take, or None if unknown."""
    known = [n_bytes for n_bytes in (system_memory(), address_space()) if n_bytes is not None]
    return min(known, default=None)


def address_space() -> int | None:
    """What is left of a limit on the memory of this process (`ulimit -v`), or None if there is none."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        limit, _ = resource.getrlimit(resource.RLIMIT_AS)
        if limit != resource.RLIM_INFINITY:
            with open("/proc/self/statm") as file:
                return max(0, limit - int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE"))
    return None


def system_memory() -> int | None:
    """Free memory in bytes, total memory where the system does not report it, or None if unknown."""
    with contextlib.suppress(OSError), open("/proc/meminfo") as lines:
        for line in lines:
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    with contextlib.suppress(ValueError, OSError, AttributeError):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


def fits_in_memory(n_bytes: int) -> bool:
    """Whether `n_bytes` is at most `MAX_MEMORY_FRACTION` of the free memory; True if that is unknown."""
    free = free_memory()
    return free is None or n_bytes <= MAX_MEMORY_FRACTION * free


def require_memory(n_bytes: int, name: str) -> None:
    """Raise InputError if `n_bytes` is more than `MAX_MEMORY_FRACTION` of the free memory."""
    free = free_memory()
    if free is not None and n_bytes > MAX_MEMORY_FRACTION * free:
        raise InputError(
            f"{name} takes {n_bytes / 1e9:,.1f} GB, but only {free / 1e9:,.1f} GB of memory are free. "
            "Use fewer rows or a smaller dtype (float32, uint8)."
        )
