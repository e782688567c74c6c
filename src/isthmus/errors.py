"""Errors for users, each in one line.

An argument that cannot be used: `NAME must be WHAT, got VALUE.`, then what to do. The state of a file, a folder, a
device or a fitted model that does not allow what was asked, and a reason to decline a measure: a plain sentence that
says what is the case, then what to do.
"""

from __future__ import annotations

import numbers
from collections.abc import Iterable
from typing import Any

from isthmus.synonyms import nearest_name
from isthmus.wording import join_names, one_line, quoted

MAX_MESSAGE_CHARACTERS = 1000
"""Length of a message, at most."""
MAX_LISTED_NAMES = 12
"""Names listed in an error that already suggests the nearest one."""
MAX_OPTIONS = 60
"""Names listed in an error at most."""


class InputError(ValueError):
    """An argument or data that cannot be used; the message is one line for the user, whatever values it quotes."""

    def __init__(self, message: str = ""):
        super().__init__(one_line(message, MAX_MESSAGE_CHARACTERS))


class Declined(InputError):
    """A measure does not apply to this model or to these rows; the message is the reason."""


class TrainingError(RuntimeError):
    """Training cannot continue; the message names the term, the step and the likely cause."""


class Interrupted(KeyboardInterrupt):
    """Training was interrupted, and nothing of it is lost; the message says what is kept, or how to resume.

    Args:
        message: what is shown.
        history: of the epochs that were made.
    """

    def __init__(self, message: str, history: list[dict[str, Any]] | None = None):
        super().__init__(message)
        self.history = history or []


def unknown(what: str, name: str, known: Iterable[str]) -> InputError:
    """An error for a name that is not among the known ones; suggests the nearest, if any is near.

    >>> str(unknown("model", "vea", ["vae", "vrnn"]))
    "model must be one of vae, vrnn, got 'vea'. Did you mean 'vae'?"

    Args:
        what: what the name stands for, for example "model" or "field of vae".
        name: the name that was passed.
        known: the names that are possible.
    """
    known = sorted(known)
    nearest = nearest_name(name, known)
    options = join_names(known, MAX_LISTED_NAMES if nearest else MAX_OPTIONS)
    hint = "" if nearest is None else f" Did you mean {nearest!r}?" if nearest in known else f" Did you mean {nearest}?"
    return InputError(f"{what} must be one of {options}, got {quoted(name)}.{hint}")


def check_positive_int(name: str, value: Any) -> None:
    """Raise InputError unless the value is an integer >= 1.

    >>> check_positive_int("draws", 0)
    Traceback (most recent call last):
    isthmus.errors.InputError: draws must be an integer >= 1, got 0.
    """
    if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value < 1:
        raise InputError(f"{name} must be an integer >= 1, got {quoted(value)}.")
