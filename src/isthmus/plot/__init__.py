"""Figures of a fitted model: each function returns a matplotlib figure, the same one that the report shows.

`**rows` is what accompanies X: `condition`, (n,) or (n, C) conditions of a conditional model, by default y; `lengths`,
(n,) numbers of steps of padded sequences; `observed`, (n, *X) booleans, False where a value is missing; and
`random_state`, the seed of what is chosen or drawn. `Examples` in place of X hold all but the last.

Every entry of `figures.FIGURES` has a function here, also one that is not written out.
`figure.savefig("latent.png")` writes a figure to a file; pyplot and its global state are not used.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from matplotlib.figure import Figure

from isthmus.evaluation.fitted_on import fitted_on
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


def latent(model: Any, X: Any, y: Any = None, **rows: Any) -> Figure:
    """Draw the codes of X in two dimensions, beside PCA of the same rows.

    Codes of more than two dimensions are projected on their first two principal axes; codes of one give histograms.

    Args:
        model: a fitted model.
        X: (n, *X) data.
        y: (n,) labels, which colour the rows: classes with a legend, or numbers on a scale with a colour bar; a pandas
            Series gives its name too.
        **rows: condition, lengths, observed, random_state: see `isthmus.plot`.
    """
    context, name = context_of(model, X, y, **rows), getattr(y, "name", None)
    if name is not None and (labels := context.labels[0]) is not None:
        context = replace(context, coloured_by=(labels, str(name)))
    return FIGURES["latent"].figure(context)


def reconstructions(model: Any, X: Any, y: Any = None, *, train: Any = None, **rows: Any) -> Figure:
    """Draw rows of X beside their reconstructions; of a denoising model, also what is corrupted.

    Args:
        model: a fitted model.
        X: (n, *X) data.
        y: (n,) labels; the rows shown are balanced over them.
        train: (m, *X) training data; with it, reconstructions by PCA of the same size are drawn too.
        **rows: condition, lengths, observed, random_state: see `isthmus.plot`.
    """
    return draw("reconstructions", model, X, y, train=train, **rows)


def samples(model: Any, X: Any = None, **rows: Any) -> Figure:
    """Draw samples of the model; of images and sequences E[x given z] for codes z from the prior.

    A model conditioned on a class draws a column for each class, unless `condition` says which.

    Args:
        model: a fitted model with a prior.
        X: (n, *X) data to compare with: the nearest row to each sample is shown, or of a table its histograms.
        **rows: condition, lengths, observed, random_state: see `isthmus.plot`; without X the condition of all samples.
    """
    return draw("samples", model, X, **rows)


def traversal(model: Any, X: Any = None, **rows: Any) -> Figure:
    """Draw what the decoder makes as each dimension of the code moves around its mean, the others held at theirs.

    Args:
        model: a fitted model.
        X: (n, *X) data whose codes give means and standard deviations; by default codes from the prior.
        **rows: condition, lengths, observed, random_state: see `isthmus.plot`; without X the condition of all codes.
    """
    return draw("traversal", model, X, **rows)


def interpolation(model: Any, X: Any, *, pairs: Sequence[tuple[int, int]] = ((0, 1),), **rows: Any) -> Figure:
    """Draw what the decoder makes on the straight line between the codes of two rows.

    Args:
        model: a fitted model.
        X: (n, *X) data.
        pairs: positions of the rows to connect; by default the first two.
        **rows: condition, lengths, observed: see `isthmus.plot`; on the way the first row's condition holds.
    """
    return decoder_paths.draw_interpolation(decoder_paths.prepare_interpolation(context_of(model, X, **rows), pairs))


def curves(model: Any) -> Figure:
    """Draw every term of the loss over the epochs, in training and in validation.

    Args:
        model: a fitted model.
    """
    return draw("curves", model)


def scores(model: Any, X: Any, *, draws: int | str = "auto", **rows: Any) -> Figure:
    """Draw the distribution of log p(x), nats, over the rows of X; without a density, of the squared error.

    Args:
        model: a fitted model.
        X: (n, *X) data.
        draws: draws from q(z given x) for each row; "auto": as many as put nine rows in ten within 0.1 nats.
        **rows: condition, lengths, observed: see `isthmus.plot`.
    """
    return draw("scores", model, X, draws=draws, **rows)


def extremes(model: Any, X: Any, *, draws: int | str = "auto", **rows: Any) -> Figure:
    """Draw the images or sequences of X that are least and most typical by log p(x), or else by squared error.

    Args:
        model: a fitted model.
        X: (n, *X) images or sequences.
        draws: draws from q(z given x) for each row; "auto": as many as put nine rows in ten within 0.1 nats.
        **rows: condition, lengths, observed: see `isthmus.plot`.
    """
    return draw("extremes", model, X, draws=draws, **rows)


def dimensions(model: Any, X: Any, **rows: Any) -> Figure:
    """Draw the KL of each dimension of the code, averaged over the rows of X; without one, the codes' variances.

    Args:
        model: a fitted model.
        X: (n, *X) data.
        **rows: condition, lengths, observed: see `isthmus.plot`.
    """
    return draw("dimensions", model, X, **rows)


def draw(name: str, model: Any, X: Any = None, y: Any = None, **rows: Any) -> Figure:
    """Draw any figure of the table `figures.FIGURES`.

    Args:
        name: of its entry.
        model: a fitted model.
        X: (n, *X) data.
        y: (n,) labels.
        **rows: condition, lengths, observed, random_state: see `isthmus.plot`; train and draws, as in other functions.
    """
    return FIGURES[name].figure(context_of(model, X, y, **rows))


def __getattr__(name: str) -> Callable[..., Figure]:
    """The function of a figure that stands in the table only: `draw` with its name."""
    if name not in FIGURES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    function = functools.partial(draw, name)
    function.__doc__ = f"{FIGURES[name].title}, as a figure: `draw` with this name."
    return function


def __dir__() -> list[str]:
    return sorted({*globals(), *FIGURES})


def context_of(
    model: Any,
    X: Any = None,
    y: Any = None,
    *,
    condition: Any = None,
    lengths: Any = None,
    observed: Any = None,
    train: Any = None,
    draws: int | str = "auto",
    random_state: int = 0,
) -> PlotContext:
    """The model with checked rows; without X the condition is that of all samples."""
    fitted = as_fitted(model) if X is None else fitted_on(model, X, condition, lengths, observed, y)
    rows = None if X is None else fitted.check(X, condition, lengths, observed=observed, y=y)
    known = None if train is None else fitted.check_without_condition(train)
    alone = condition if X is None else None
    return PlotContext(fitted, rows, known, condition=alone, seed=random_state, draws=draws)
