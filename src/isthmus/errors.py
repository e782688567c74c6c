"""The errors that a user can mend: one line that says what came, what was wanted and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """What was given cannot be used; the message is one line for the user."""


class Declined(InputError):
    """A measure does not apply to this model or to these rows; the message is the reason."""


class TrainingError(RuntimeError):
    """Training cannot go on; the message names the term, the step and the likely cause."""


class Interrupted(KeyboardInterrupt):
    """Training was stopped by hand after its state was saved; the message says how to go on."""


def unknown(what: str, name: str, known: Iterable[str]) -> InputError:
    """An unknown name, with the nearest known one.

    >>> str(unknown("model", "vea", ["vae", "vrnn"]))
    "no model named 'vea'; did you mean 'vae'?"
    """
    known = sorted(known)
    near = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.5)
    tail = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(known)}"
    return InputError(f"no {what} named {name!r}; {tail}")
