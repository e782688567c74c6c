"""The error for a model that is not fitted yet. Apart from the others, for it imports scikit-learn."""

from __future__ import annotations

from sklearn.exceptions import NotFittedError as SklearnNotFittedError

from isthmus.errors import InputError


class NotFittedError(InputError, SklearnNotFittedError):
    """A model that must be fitted first."""
