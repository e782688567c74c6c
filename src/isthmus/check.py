"""What data are, what would be chosen for them and why, and what is wrong with them: before anything is trained."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from isthmus.data import Dataset, Part, as_numbers
from isthmus.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from isthmus.estimators.base import Estimator
    from isthmus.schema import Schema

FEWEST_ROWS = 50
"""Rows under which nothing that is measured on a tenth of them means anything."""
FEWEST_IMAGES = 200
MANY_DUPLICATES = 0.01
"""Share of doubled rows above which held-out rows have likely been seen in training."""
WILD = 100.0
"""Ratio of the columns' standard deviations above which the largest rule the loss."""
LEARNED_FROM = 10_000
"""Rows from which scaling is tried out: enough to see whether it works."""


@dataclass(frozen=True)
class Finding:
    """Something that is worth knowing: `info`, `warning`, or `error` (a model cannot be trained on these data)."""

    code: str
    severity: str
    message: str
    remedy: str
    evidence: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Report:
    """What the data are and what would be chosen for them; the choices are empty where the data leave none."""

    rows: int
    shape: tuple[int, ...]
    dtype: str
    findings: list[Finding]
    kind: str = ""
    likelihood: str = ""
    likelihood_why: str = ""
    network: str = ""
    network_why: str = ""
    scaling: str = ""
    scaling_why: str = ""

    @property
    def usable(self) -> bool:
        """Whether nothing that was found is an error."""
        return all(finding.severity != "error" for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**asdict(self), "shape": list(self.shape), "usable": self.usable}

    def __str__(self) -> str:
        shape = " x ".join(map(str, self.shape)) or "1"
        lines = [f"{plural(self.rows, 'row')} of {shape}, {self.dtype}" + (f", {self.kind}" if self.kind else "")]
        chosen = (
            (self.likelihood, self.likelihood_why),
            (self.network, self.network_why),
            (self.scaling, self.scaling_why),
        )
        for name, (what, why) in zip(("likelihood:", "network:", "scaling:"), chosen):
            lines += [f"{name:<12}{what}: {why}"] if what else []
        for finding in self.findings:
            lines += [f"{finding.severity + ':':<12}{finding.message} [{finding.code}]", f"{'':<12}{finding.remedy}"]
        return "\n".join(lines if self.findings else [*lines, "nothing wrong was found"])


@dataclass(frozen=True)
class View:
    """One part of the data as the checks read it: x (n, *X), names of columns, and lengths (n,) of sequences."""

    x: np.ndarray
    names: tuple[str, ...] = ()
    lengths: np.ndarray | None = None
    part: str = "X"

    @property
    def image(self) -> bool:
        return self.x.ndim in (3, 4) and self.lengths is None

    @property
    def columns(self) -> np.ndarray:
        """(rows, columns), of images (rows, pixels), of sequences (steps, d) without the padding."""
        import numpy as np

        if self.lengths is None or self.x.ndim != 3:
            return self.x.reshape(len(self.x), math.prod(self.x.shape[1:]))
        return self.x[np.arange(self.x.shape[1]) < np.asarray(self.lengths)[:, None]]

    def where(self, bad: np.ndarray) -> tuple[str, dict[str, Any]]:
        """Which columns of (rows, columns) hold True and how often, in words and as numbers."""
        import numpy as np

        counts = bad.sum(0)
        found = np.flatnonzero(counts).tolist()
        evidence: dict[str, Any] = {"values": int(counts.sum()), "columns": len(found)}
        if self.image:
            return f"{plural(counts.sum(), 'value')} in {plural(len(found), 'pixel')} of {self.part}", evidence
        evidence["per_column"] = {self.name(j): int(counts[j]) for j in found}
        return f"column {listed([f'{self.name(j)} ({counts[j]:,})' for j in found])} of {self.part}", evidence

    def name(self, j: int) -> str:
        """The name of a column, or its number."""
        return self.names[j] if self.names else str(j)


def check(
    X: Any,
    *,
    lengths: Any = None,
    likelihood: str = "auto",
    scaling: str = "auto",
    levels: int | None = None,
) -> Report:
    """What X (n, *X) is: a `Dataset`, an array, a tensor or a table; with `lengths` (n,), padded sequences (n, t, d).

    Bad data are reported, never raised; InputError is for a likelihood or scaling that there is not.
    """
    import numpy as np

    from isthmus.estimators.variational import VAE

    data = X if isinstance(X, Dataset) else Dataset("X", Part(X, lengths=lengths))
    levels = levels if levels is not None else data.levels
    model = VAE(likelihood=likelihood, scaling=scaling, levels=levels)
    with np.errstate(all="ignore"):  # numbers near the largest overflow in a variance: that is for `fit` to say
        return report(data, model)


def report(data: Dataset, model: Estimator) -> Report:
    """The whole of `check`, by the fields of `model`."""
    view, findings = look(data.train, "X")
    if view is None:
        return Report(*outline(data.train.x), findings)
    findings += unusable(view)
    about = (len(view.x), tuple(view.x.shape[1:]), str(view.x.dtype))
    if any(finding.code in ("wrong-shape", "empty") for finding in findings):
        return Report(*about, findings)
    findings += not_finite(view)
    rows = mended(view)
    choice, more = choose(model, rows)
    findings += more + [found for measure in MEASURES for found in measure(rows, choice)]
    for name, part in (("x_valid", data.valid), ("x_test", data.test)):
        if part is not None:
            findings += held_out(part, name, choice)
    findings.sort(key=lambda finding: ("error", "warning", "info").index(finding.severity))
    return Report(
        *about,
        findings,
        kind=choice.kind,
        likelihood=choice.likelihood,
        likelihood_why=why_likelihood(model, rows, choice.kind),
        network=choice.network,
        network_why=why_network(choice),
        scaling=choice.scaling,
        scaling_why=why_scaling(model, choice),
    )


# ------------------------------------------------------------------- the data


def look(part: Part, name: str) -> tuple[View | None, list[Finding]]:
    """The numbers of a part, or None where there are none, and the columns that are not numbers."""
    import numpy as np

    x: Any = part.x
    if hasattr(x, "detach"):  # a torch tensor
        x = x.detach().cpu().numpy()
    try:
        if not hasattr(x, "columns"):
            x = x if hasattr(x, "toarray") else np.asarray(x)
            if x.dtype.kind in "OUS" and x.ndim == 2:
                import pandas as pd

                x = pd.DataFrame(x)
        if hasattr(x, "columns"):
            return look_at_table(x, part, name)
    except (AttributeError, TypeError, ValueError) as error:
        return None, [not_numbers(name, " ".join(str(error).split()))]
    if hasattr(x, "toarray"):
        return None, [not_numbers(name, "a sparse matrix came", "pass X.toarray()")]
    if x.dtype.kind not in "biuf" or not x.ndim:
        return None, [not_numbers(name, f"an array of {x.dtype} came" if x.ndim else f"{x.item()!r} came")]
    return View(x.astype(np.uint8) if x.dtype == bool else x, (), part.lengths, name), []  # as `fit` reads them


def look_at_table(frame: Any, part: Part, name: str) -> tuple[View | None, list[Finding]]:
    """The columns of a table that are numbers, and an error for each that is not."""
    numbers, words = as_numbers(frame)
    findings = [
        Finding("words", "error", w.message, w.remedy, {"column": w.column, "rows": w.rows, "of": w.of}) for w in words
    ]
    if not len(numbers.columns):
        return None, findings or [not_numbers(name, "a table without columns came")]
    return View(numbers.to_numpy(), tuple(numbers.columns), part.lengths, name), findings


def not_numbers(
    name: str, what: str, remedy: str = "pass an array of numbers (n, d), (n, h, w) or (n, h, w, c)"
) -> Finding:
    """Data that no model can read."""
    return Finding("not-numbers", "error", f"{name} is not an array of numbers: {what}", remedy)


def outline(x: Any) -> tuple[int, tuple[int, ...], str]:
    """Rows, shape and type of what is not numbers, as far as it has any."""
    shape = tuple(int(side) for side in getattr(x, "shape", ())) or (len(x) if hasattr(x, "__len__") else 1,)
    return shape[0], shape[1:], str(getattr(x, "dtype", "mixed" if hasattr(x, "columns") else type(x).__name__))


def mended(view: View) -> View:
    """Padding set to 0, and NaN and infinity to their column's smallest number, so that the rest can be looked at."""
    import numpy as np

    from isthmus.estimators.inputs import real_steps

    x = view.x
    if view.lengths is not None:
        x = np.where(real_steps(x, np.asarray(view.lengths))[..., None], x, np.zeros((), x.dtype))
    if x.dtype.kind == "f" and not bool((finite := np.isfinite(x)).all()):
        low = np.where(finite, x, np.inf).min(0)
        x = np.where(finite, x, np.where(np.isfinite(low), low, 0)).astype(x.dtype)
    return replace(view, x=x)


# --------------------------------------------------------------- the choices


@dataclass(frozen=True)
class Choice:
    """What a model would choose for the data."""

    kind: str
    schema: Schema
    likelihood: str
    network: str
    scaling: str
    levels: int


def choose(model: Estimator, view: View) -> tuple[Choice, list[Finding]]:
    """Likelihood, network and scaling by the rules that `fit` goes by, and what these have against the data."""
    import numpy as np

    from isthmus.estimators.inputs import Inputs, describe, likelihood_of, scaling_name, spelled
    from isthmus.estimators.parts import LEVELLED, LIKELIHOODS
    from isthmus.schema import Schema, kind_of

    kind = kind_of(view.x, model.levels)
    name, arguments = likelihood_of(model, kind)
    schema = Schema(
        view.x.shape[1:],
        kind,
        str(view.x.dtype),
        spelled(name, arguments),
        sequence=view.lengths is not None,
        discrete=LIKELIHOODS[name].discrete,
    )
    how, network = scaling_name(model.scaling, schema, name), model.network_kind(schema)
    findings, refused = [], ""
    if not constant(view.x):
        train = np.arange(0, len(view.x), max(1, len(view.x) // LEARNED_FROM))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                schema = describe(model, Inputs(view.x, lengths=view.lengths), train)
            except InputError as error:
                refused = str(error)
        findings = [warned(str(w.message)) for w in caught if issubclass(w.category, UserWarning)]
    levels = 0
    if name in LEVELLED:
        seen = 256 if view.x.dtype == np.uint8 else int(view.x.max()) + 1 if view.x.dtype.kind in "iu" else 0
        levels = schema.levels or int(arguments[0] if arguments else model.levels or seen)
    choice = Choice(kind, schema, name, network, how, levels)
    return choice, findings + outside(view, choice, refused)


def warned(message: str) -> Finding:
    """A warning that `fit` would give."""
    what, _, remedy = message.partition("; ")
    return Finding("not-a-density", "warning", what, remedy)


def support(name: str, levels: int) -> tuple[float, float, bool]:
    """The smallest and largest value that a likelihood takes, and whether only whole ones."""
    from isthmus.estimators.parts import COUNTED, LEVELLED

    if name in LEVELLED:
        return 0.0, levels - 1.0 if levels else math.inf, True
    if name in COUNTED:
        return 0.0, math.inf, True
    return (0.0, 1.0, False) if name.endswith("bernoulli") else (-math.inf, math.inf, False)


def outside(view: View, choice: Choice, refused: str = "") -> list[Finding]:
    """Values that the likelihood gives no density, or why `fit` would refuse them."""
    low, high, whole = support(choice.likelihood, choice.levels)
    values = view.columns
    bad = (values < low) | (values > high)
    if whole and values.dtype.kind == "f":
        bad |= values % 1 != 0
    if not refused and not bad.any():
        return []
    message = f"{choice.likelihood} takes {'whole ' * whole}numbers from {low:g}{f' to {high:g}' * (high < math.inf)}"
    remedy = "use likelihood='normal', or rescale the values"
    if ": " in refused:
        remedy = refused.rpartition(": ")[2]
    elif choice.levels and values.min() >= 0 and values.max() >= choice.levels:
        remedy = f"pass levels={int(values.max()) + 1}, or use likelihood='normal'"
    if not bad.any():  # refused for its type alone
        return [Finding("outside-support", "error", refused.rpartition(": ")[0] or refused, remedy)]
    where, evidence = view.where(bad)
    span = {"smallest": values.min().item(), "largest": values.max().item()}
    return [Finding("outside-support", "error", f"{message}; outside lie {where}", remedy, evidence | span)]


def why_likelihood(model: Estimator, view: View, kind: str) -> str:
    """One sentence on where the likelihood comes from."""
    if model.likelihood != "auto":
        return "asked for"
    low, high = view.x.min(), view.x.max()
    return {
        "binary": "every value is 0 or 1",
        "levels": f"{f'{model.levels} grey levels' if model.levels else 'bytes'}, from {low:g} to {high:g}",
        "counts": f"whole numbers from {low} to {high} that are not bytes are read as counts",
        "unit": "numbers from 0 to 1; likelihood='continuous_bernoulli' is the other choice for these",
        "real": f"numbers from {low:g} to {high:g}",
    }[kind]


def why_network(choice: Choice) -> str:
    """One sentence on where the network comes from."""
    schema = choice.schema
    if not schema.image:
        return "sequences" if schema.sequence else "a table has no neighbouring pixels"
    size = f"images of {schema.event_shape[0]} x {schema.event_shape[1]} pixels"
    return f"{size}, {'at least 16 a side' if choice.network == 'conv' else 'under 16 a side or of over 4 channels'}"


def why_scaling(model: Estimator, choice: Choice) -> str:
    """One sentence on where the scaling comes from."""
    if choice.schema.discrete or choice.likelihood == "continuous_bernoulli":
        return f"{choice.likelihood} reads the values as they are"
    if model.scaling != "auto":
        return "asked for"
    return {"standard": "each column to mean 0 and variance 1", "global": "centred columns and one scale for all"}[
        choice.scaling
    ]


# -------------------------------------------------------------- the findings


def unusable(view: View) -> Iterator[Finding]:
    """Data of a shape that no model takes, and too few rows to train at all."""
    shape = tuple(view.x.shape)
    wanted = "(n, d), (n, h, w), (n, h, w, c) or, with lengths, (n, t, d)"
    if not 2 <= len(shape) <= 4 or (view.lengths is not None and len(shape) != 3):
        remedy = "pass X.reshape(-1, 1), or X.reshape(1, -1) for one row" if len(shape) == 1 else "reshape it"
        yield Finding("wrong-shape", "error", f"{view.part} has shape {shape}; {wanted} is wanted", remedy)
    elif view.lengths is not None and not fits(view):
        yield Finding(
            "wrong-shape",
            "error",
            f"the lengths do not fit {view.part} of shape {shape}",
            f"pass one whole number from 1 to {shape[1]} for each of {shape[0]} rows",
        )
    elif not view.x.size:
        yield Finding("empty", "error", f"{view.part} of shape {shape} is empty", "pass at least two rows")
    elif len(view.x) == 1:
        yield Finding("one-row", "error", f"{view.part} has one row", "pass at least two rows", {"rows": 1})


def fits(view: View) -> bool:
    """Whether lengths are whole numbers from 1 to the padded length, one a row."""
    import numpy as np

    lengths = np.asarray(view.lengths)
    if lengths.shape != (len(view.x),) or lengths.dtype.kind not in "iu":
        return False
    return not len(lengths) or bool(lengths.min() >= 1 and lengths.max() <= view.x.shape[1])


def not_finite(view: View) -> Iterator[Finding]:
    """NaN and infinity: which columns, and how many."""
    import numpy as np

    values = view.columns
    if values.dtype.kind != "f" or bool((finite := np.isfinite(values)).all()):
        return
    where, evidence = view.where(~finite)
    yield Finding(
        "not-finite",
        "error",
        f"NaN or infinity: {where}",
        "drop those rows or fill them in (sklearn.impute.SimpleImputer)",
        evidence | {"rows": int((~finite).any(1).sum())},
    )


def held_out(part: Part, name: str, choice: Choice) -> Iterator[Finding]:
    """What keeps rows to validate or test on from being used: their shape, NaN, values outside the support."""
    view, findings = look(part, name)
    yield from findings
    if view is None:
        return
    wrong = [finding for finding in unusable(view) if finding.code != "one-row"]
    if wrong:
        yield from wrong
    elif view.x.shape[1:] != choice.schema.event_shape:
        message = f"{name} has rows of shape {view.x.shape[1:]} and X of {choice.schema.event_shape}"
        yield Finding("wrong-shape", "error", message, "give both the same columns, or the same height and width")
    else:
        yield from not_finite(view)
        yield from outside(mended(view), choice)


def constant(x: np.ndarray) -> bool:
    """Whether all rows are the same."""
    return bool((x[:100] == x[:1]).all() and (x == x[:1]).all())


def constant_columns(view: View, choice: Choice) -> Iterator[Finding]:
    """Columns that never change, or nothing that does."""
    import numpy as np

    values = view.columns
    if len(view.x) > 1 and constant(view.x):
        message = f"all {plural(len(view.x), 'row')} are the same; there is nothing to learn from constant data"
        yield Finding("constant-data", "error", message, "pass rows that differ", {"rows": len(view.x)})
        return
    still = np.flatnonzero(values.min(0) == values.max(0))
    if not len(still) or len(view.x) == 1:
        return
    evidence = {"columns": len(still), "of": values.shape[1]}
    share = f"{len(still):,} of {plural(values.shape[1], 'pixel' if view.image else 'column')}"
    if view.image or choice.kind == "levels":
        message, remedy = f"{share} never change", "nothing is to be done: margins of images are often blank"
        yield Finding("constant-columns", "info", message, remedy, evidence)
    else:
        message = f"{share} never change: {listed([view.name(j) for j in still.tolist()])}"
        yield Finding("constant-columns", "warning", message, "drop them: they say nothing", evidence)


def few_rows(view: View, choice: Choice) -> Iterator[Finding]:
    """So few rows that a model learns them by heart."""
    n, width = len(view.x), view.columns.shape[1]
    wanted = max(FEWEST_IMAGES, width // 10) if view.image else max(FEWEST_ROWS, width if view.lengths is None else 0)
    if 1 < n < wanted:
        yield Finding(
            "few-rows",
            "warning",
            f"{plural(n, 'row')} of {plural(width, 'pixel' if view.image else 'column')}; "
            f"a model would learn them by heart, {wanted:,} or more are wanted",
            "gather more rows, or take a small linear model: hidden=(), latent_dim=2",
            {"rows": n, "columns": width, "wanted": wanted},
        )


def duplicates(view: View, choice: Choice) -> Iterator[Finding]:
    """Rows that are there more than once: split, one is trained on and its double tested on."""
    import numpy as np

    rows = np.ascontiguousarray(view.x).reshape(len(view.x), -1)
    double = len(rows) - len({hash(row.tobytes()) for row in rows})
    if double and not constant(view.x):
        share = double / len(rows)
        yield Finding(
            "duplicated-rows",
            "warning" if share > MANY_DUPLICATES else "info",
            f"copies of earlier rows: {double:,} of {len(rows):,} ({share:.1%})",
            "drop them before splitting (numpy.unique(X, axis=0)), or held-out rows are rows that were trained on",
            {"rows": double, "of": len(rows), "share": share},
        )


def scales(view: View, choice: Choice) -> Iterator[Finding]:
    """Columns of a table whose spreads are far apart."""
    import numpy as np

    if view.image or choice.schema.discrete:
        return
    spread = view.columns.std(0, dtype=np.float64)
    moving = np.flatnonzero(view.columns.min(0) != view.columns.max(0))
    if len(moving) < 2:
        return
    small, large = moving[spread[moving].argmin()], moving[spread[moving].argmax()]
    ratio = float(spread[large] / spread[small])
    if not WILD < ratio < math.inf:  # spreads may overflow
        return
    served = choice.scaling == "standard"
    times = f"{ratio:,.0f}" if ratio < 1e9 else f"{ratio:.3g}"
    yield Finding(
        "different-scales",
        "info" if served else "warning",
        f"the standard deviation of column {view.name(large)} ({spread[large]:.3g}) is {times} times that of "
        f"{view.name(small)} ({spread[small]:.3g})",
        "nothing is to be done: scaling='standard' takes care of it"
        if served
        else "pass scaling='standard', or the loss hears the large columns alone",
        {"ratio": ratio, "largest": float(spread[large]), "smallest": float(spread[small])},
    )


def channels_first(view: View, choice: Choice) -> Iterator[Finding]:
    """Images whose channels seem to come before height and width."""
    shape = view.x.shape
    if view.image and len(shape) == 4 and shape[1] in (1, 3) and shape[3] > 4:
        yield Finding(
            "channels-first",
            "warning",
            f"rows of shape {shape[1:]} look like channels, height, width; height, width, channels are wanted",
            "pass X[:, 0]" if shape[1] == 1 else "pass X.transpose(0, 2, 3, 1)",
            {"channels": shape[1], "height": shape[2], "width": shape[3]},
        )


def whole_floats(view: View, choice: Choice) -> Iterator[Finding]:
    """Floats that are all whole numbers: perhaps counts or grey levels."""
    x = view.x
    if choice.schema.discrete or x.dtype.kind != "f" or constant(x) or x.min() < 0 or x.max() > 1e15:
        return
    if bool((x[:100] % 1 == 0).all()) and bool((x % 1 == 0).all()):
        high = int(x.max())
        levels = f" or X.astype('uint8') with levels={high + 1} for grey levels" if high < 256 else ""
        yield Finding(
            "whole-floats",
            "info",
            f"every value is a whole number from {int(x.min())} to {high}, stored as {x.dtype}",
            f"if they are not measurements pass X.astype('int64') for counts{levels}",
            {"smallest": int(x.min()), "largest": high},
        )


MEASURES = (constant_columns, few_rows, duplicates, scales, channels_first, whole_floats)
"""What is looked for once there are rows of numbers."""


# ----------------------------------------------------------------- in words


def plural(n: int, what: str) -> str:
    """A number of things.

    >>> plural(1, "row"), plural(1200, "row")
    ('1 row', '1,200 rows')
    """
    return f"{n:,} {what}" + ("" if n == 1 else "s")


def listed(names: list[str]) -> str:
    """The first five of some names, and how many more there are.

    >>> listed(list("abcdefg"))
    'a, b, c, d, e and 2 more'
    """
    return ", ".join(names[:5]) + (f" and {len(names) - 5:,} more" if len(names) > 5 else "")
