"""Files that are damaged, foreign or larger than memory: one line for each."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from isthmus.atomic_io import reason
from isthmus.errors import InputError

SHARE_OF_MEMORY = 0.8
"""How much of the free memory data may take: training needs some beside them."""


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


def free_memory() -> int | None:
    """Bytes that can still be had, where the system tells."""
    with contextlib.suppress(OSError), open("/proc/meminfo") as lines:
        for line in lines:
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    with contextlib.suppress(ValueError, OSError, AttributeError):  # all there is, where nothing tells what is free
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


def need(size: int, what: str) -> None:
    """Raise InputError where `size` bytes are more than memory can well hold."""
    free = free_memory()
    if free is not None and size > SHARE_OF_MEMORY * free:
        raise InputError(
            f"{what} takes {size / 1e9:,.1f} GB in memory and {free / 1e9:,.1f} GB are free; "
            "take fewer rows or a smaller type (float32, uint8)"
        )
