"""Figures of a fitted model: each function returns a matplotlib figure, the same one that the report shows.

Every entry of `figures.FIGURES` has a function here; one that is not written out takes the arguments of all.
`figure.savefig("latent.png")` writes one to a file; pyplot and its global state are not used.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from matplotlib.figure import Figure

from isthmus.fitted import as_fitted
from isthmus.plot import decoder_paths
from isthmus.plot.context import PlotContext
from isthmus.plot.figures import FIGURES

__all__ = [
    "curves",
    "dimensions",
    "extremes",
    "interpolation",
    "latent",
    "reconstructions",
    "samples",
    "scores",
    "traversal",
]


def latent(
    model: Any,
    X: Any,
    y: Any = None,
    *,
    condition: Any = None,
    lengths: Any = None,
    observed: Any = None,
    random_state: int = 0,
) -> Figure:
    """Draw the codes of X in two dimensions, beside PCA of the same rows.

    Codes of more than two dimensions are projected on their first two principal axes; codes of one give histograms.

    Args:
        model: a fitted model.
        X: (n, *X) data.
        y: (n,) labels, which colour the rows.
        condition: (n,) or (n, C) conditions of a conditional model; by default y.
        lengths: (n,) numbers of steps, for padded sequences.
        observed: (n, *X) booleans, False where a value is missing.
        random_state: seed of the choice of rows, if there are too many for a map.
    """
    return _figure(
        "latent", model, X, y, condition=condition, lengths=lengths, observed=observed, random_state=random_state
    )


def reconstructions(
    model: Any,
    X: Any,
    y: Any = None,
    *,
    condition: Any = None,
    lengths: Any = None,
    observed: Any = None,
    train: Any = None,
    random_state: int = 0,
) -> Figure:
    """Draw rows of X beside their reconstructions; of a denoising model, also what is corrupted.

    Args:
        model: a fitted model.
        X: (n, *X) data.
        y: (n,) labels; the rows shown are balanced over them.
        condition: (n,) or (n, C) conditions of a conditional model; by default y.
        lengths: (n,) numbers of steps, for padded sequences.
        observed: (n, *X) booleans, False where a value is missing.
        train: (m, *X) training data; with it, reconstructions by PCA of the same size are drawn too.
        random_state: seed of the choice of rows and of the corruption.
    """
    kwargs = {
        "condition": condition,
        "lengths": lengths,
        "observed": observed,
        "train": train,
        "random_state": random_state,
    }
    return _figure("reconstructions", model, X, y, **kwargs)


def samples(
    model: Any,
    X: Any = None,
    *,
    condition: Any = None,
    lengths: Any = None,
    observed: Any = None,
    random_state: int = 0,
) -> Figure:
    """Draw samples of the model; of images and sequences E[x given z] for codes z from the prior.

    A model conditioned on a class draws a column for each class, unless `condition` says which.

    Args:
        model: a fitted model with a prior.
        X: (n, *X) data to compare with: the nearest row to each sample is shown, or of a table its histograms.
        condition: the condition of all samples; with X, the (n,) or (n, C) conditions of its rows.
        lengths: (n,) numbers of steps of X, for padded sequences.
        observed: (n, *X) booleans, False where a value of X is missing.
        random_state: seed of the samples.
    """
    return _figure(
        "samples", model, X, condition=condition, lengths=lengths, observed=observed, random_state=random_state
    )


def traversal(
    model: Any,
    X: Any = None,
    *,
    condition: Any = None,
    lengths: Any = None,
    observed: Any = None,
    random_state: int = 0,
) -> Figure:
    """Draw what the decoder makes as each dimension of the code moves around its mean, the others held at theirs.

    Args:
        model: a fitted model.
        X: (n, *X) data whose codes give means and standard deviations; by default codes from the prior.
        condition: the condition of a conditional model; with X, the conditions of its rows.
        lengths: (n,) numbers of steps of X, for padded sequences.
        observed: (n, *X) booleans, False where a value of X is missing.
        random_state: seed of the codes from the prior.
    """
    return _figure(
        "traversal", model, X, condition=condition, lengths=lengths, observed=observed, random_state=random_state
    )


def interpolation(
    model: Any,
    X: Any,
    *,
    pairs: Sequence[tuple[int, int]] = ((0, 1),),
    condition: Any = None,
    lengths: Any = None,
    observed: Any = None,
    random_state: int = 0,
) -> Figure:
    """Draw what the decoder makes on the straight line between the codes of two rows.

    Args:
        model: a fitted model.
        X: (n, *X) data.
        pairs: positions of the rows to connect; by default the first two.
        condition: (n,) or (n, C) conditions of a conditional model; on the way the first row's holds.
        lengths: (n,) numbers of steps, for padded sequences.
        observed: (n, *X) booleans, False where a value is missing.
        random_state: not used; every function here takes it.
    """
    context = _context(
        model, X, None, condition=condition, lengths=lengths, observed=observed, random_state=random_state
    )
    return decoder_paths.draw_interpolation(decoder_paths.prepare_interpolation(context, pairs))


def curves(model: Any) -> Figure:
    """Draw every term of the loss over the epochs, in training and in validation.

    Args:
        model: a fitted model.
    """
    return _figure("curves", model)


def scores(
    model: Any,
    X: Any,
    *,
    condition: Any = None,
    lengths: Any = None,
    observed: Any = None,
    draws: int = 1000,
    random_state: int = 0,
) -> Figure:
    """Draw the distribution of log p(x) over the rows of X; of a model without a density, of the squared error.

    Args:
        model: a fitted model.
        X: (n, *X) data.
        condition: (n,) or (n, C) conditions of a conditional model.
        lengths: (n,) numbers of steps, for padded sequences.
        observed: (n, *X) booleans, False where a value is missing.
        draws: posterior samples for each row.
        random_state: not used; every function here takes it.
    """
    kwargs = {
        "condition": condition,
        "lengths": lengths,
        "observed": observed,
        "draws": draws,
        "random_state": random_state,
    }
    return _figure("scores", model, X, **kwargs)


def extremes(
    model: Any,
    X: Any,
    *,
    condition: Any = None,
    lengths: Any = None,
    observed: Any = None,
    draws: int = 1000,
    random_state: int = 0,
) -> Figure:
    """Draw the images or sequences of X that are least and most typical by log p(x), or else by squared error.

    Args:
        model: a fitted model.
        X: (n, *X) images or sequences.
        condition: (n,) or (n, C) conditions of a conditional model.
        lengths: (n,) numbers of steps, for padded sequences.
        observed: (n, *X) booleans, False where a value is missing.
        draws: posterior samples for each row.
        random_state: not used; every function here takes it.
    """
    kwargs = {
        "condition": condition,
        "lengths": lengths,
        "observed": observed,
        "draws": draws,
        "random_state": random_state,
    }
    return _figure("extremes", model, X, **kwargs)


def dimensions(
    model: Any, X: Any, *, condition: Any = None, lengths: Any = None, observed: Any = None, random_state: int = 0
) -> Figure:
    """Draw the KL of each dimension of the code, averaged over the rows of X; without one, the codes' variances.

    Args:
        model: a fitted model.
        X: (n, *X) data.
        condition: (n,) or (n, C) conditions of a conditional model.
        lengths: (n,) numbers of steps, for padded sequences.
        observed: (n, *X) booleans, False where a value is missing.
        random_state: not used; every function here takes it.
    """
    return _figure(
        "dimensions", model, X, condition=condition, lengths=lengths, observed=observed, random_state=random_state
    )


def __getattr__(name: str) -> Callable[..., Figure]:
    """The function of a figure that stands in the table only; its arguments are those of `_context`."""
    if name not in FIGURES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def draw(model: Any, X: Any = None, y: Any = None, **kwargs: Any) -> Figure:
        return _figure(name, model, X, y, **kwargs)

    draw.__name__ = draw.__qualname__ = name
    draw.__doc__ = f"{FIGURES[name].title}, as a figure.{_GENERIC_ARGUMENTS}"
    return draw


def __dir__() -> list[str]:
    return sorted({*globals(), *FIGURES})


_GENERIC_ARGUMENTS = """

    Args:
        model: a fitted model.
        X: (n, *X) data.
        y: (n,) labels.
        **kwargs: condition, lengths, observed, train, draws and random_state, as in the other functions.
    """


def _figure(name: str, model: Any, X: Any = None, y: Any = None, **kwargs: Any) -> Figure:
    return FIGURES[name].figure(_context(model, X, y, **kwargs))


def _context(
    model: Any,
    X: Any = None,
    y: Any = None,
    *,
    condition: Any = None,
    lengths: Any = None,
    observed: Any = None,
    train: Any = None,
    draws: int = 1000,
    random_state: int = 0,
) -> PlotContext:
    """The model with checked rows; without X the condition is that of all samples."""
    fitted = as_fitted(model)
    rows = None if X is None else fitted.check(X, condition, lengths, observed=observed, y=y)
    known = None if train is None else fitted.check_without_condition(train)
    alone = condition if X is None else None
    return PlotContext(fitted, rows, known, condition=alone, seed=random_state, draws=draws)
