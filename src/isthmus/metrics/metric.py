"""A measured number with its label, unit, kind and standard error: what text, JSON, pages and findings are made of."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from isthmus.metrics.estimate import Estimate, mean_and_error

SETTING = "setting"
"""Kind of a number that describes a measurement (rows, draws, components) and is not measured itself."""
UNKNOWN_ERROR = "the standard error of one draw or one row is unknown"
"""Remark on a number whose standard error is infinite: an error is estimated from differences."""
LINE, INLINE, HIDDEN = "line", "inline", "hidden"
"""Where text shows a number: on a separate line, in its parent's line, or nowhere (JSON and the page have it)."""

MIN_COARSE_ERROR = 100.0
"""Standard error from which a number and its error are rounded to two digits of the error."""

Value = float | int | bool | str | tuple[float, ...] | None


@dataclass(frozen=True)
class Metric:
    """One measured number.

    Args:
        name: dotted path, for example `baselines.ppca.margin`; it is the place of the number in JSON.
        label: what it is, in words; the only place where these words stand.
        unit: nats, dimensions, share of rows, ...
        kind: what may be compared: density, probability, divergence, squared error, ratio, share, ...
        value: a number, or several (one per latent dimension, one per step of a path); None if there is none.
        standard_error: of `value`, in the same unit; None if it has none.
        digits: format of `value` and `standard_error` in text; "" rounds both to two digits of the error.
        note: words after the number in text, for example "median row".
        details: numbers that belong to this one, such as its number of draws or a reference value; their names start
            with this one's.
        shown: LINE, INLINE or HIDDEN. An inline detail is written as its value, then its label: "50 rows".
        plain: whether JSON holds the value alone, without its error, unit and kind.
    """

    name: str
    label: str
    unit: str
    kind: str
    value: Value
    standard_error: float | None = None
    digits: str = ".2f"
    note: str = ""
    details: tuple[Metric, ...] = ()
    shown: str = LINE
    plain: bool = False

    @property
    def key(self) -> str:
        """The last part of the name."""
        return self.name.rpartition(".")[2]

    def walk(self) -> Iterator[Metric]:
        """This metric, then all its details, depth first."""
        yield self
        for detail in self.details:
            yield from detail.walk()

    def lines(self, indent: str = "") -> Iterator[tuple[str, str]]:
        """Label and text of this metric and of each detail; details without a value are left out.

        >>> draws = setting("elbo.draws", "draws per row", 1000)
        >>> list(Metric("elbo", "ELBO", "nats", "density", -1.5, details=(draws,)).lines())
        [('ELBO', '-1.50 nats (1,000 draws per row)')]
        """
        if self.shown == LINE:
            inline = [f"{d.number} {d.label}" for d in self.details if d.shown == INLINE and d.value is not None]
            remarks = "; ".join([*self.notes, *inline])
            yield indent + self.label, f"{self}{f' ({remarks})' if remarks else ''}"
        for detail in self.details:
            if detail.value is not None:
                yield from detail.lines(indent + "  ")

    @property
    def notes(self) -> list[str]:
        """Remarks after the number: its note, and why its standard error is unknown if it is."""
        unknown = self.standard_error is not None and not math.isfinite(self.standard_error)
        return [*([self.note] if self.note else []), *([UNKNOWN_ERROR] if unknown else [])]

    @property
    def number(self) -> str:
        """Value and standard error as text, without the unit."""
        return number(self.value, self.digits, self.standard_error)

    def __str__(self) -> str:
        """Value, standard error and unit as text.

        >>> print(Metric("elbo", "ELBO", "nats", "density", -79.571, 0.8934))
        -79.57 ± 0.89 nats
        >>> print(Metric("probes.linear", "linear probe", "share of rows", "accuracy", 0.5, 0.02, digits=".0%"))
        50% ± 2% of rows
        >>> print(Metric("elbo", "ELBO", "nats", "density", -79.571, math.inf))
        -79.57 ± unknown nats
        """
        unit = self.unit.removeprefix("share ") if self.digits.endswith("%") else self.unit
        return f"{self.number} {unit}".rstrip()


def number(value: Value, digits: str = ".2f", standard_error: float | None = None) -> str:
    """A value with its standard error as text; several values are joined by commas.

    >>> number(0.25, ".0%"), number((1.0, -0.01), ".1f"), number(3), number(None)
    ('25%', '1.0, 0.0', '3', 'not available')
    >>> number(-54285758.98, ".2f", 1056791.2)
    '-54,300,000 ± 1,100,000'
    """
    if value is None:
        return "not available"
    if isinstance(value, str | bool):
        return str(value)
    digits = digits or error_digits(standard_error)
    if isinstance(value, tuple):
        return ", ".join(number(one, digits) for one in value)
    if standard_error is not None and MIN_COARSE_ERROR <= standard_error < math.inf and digits.endswith("f"):
        step = 10.0 ** (math.floor(math.log10(standard_error)) - 1)  # no digit that chance decides
        value, standard_error, digits = step * round(value / step), step * round(standard_error / step), ",.0f"
    if isinstance(value, int):
        text = f"{value:,}"
    else:
        sign, rest = (digits[0], digits[1:]) if digits[0] in "+-" else ("", digits)
        text = f"{value:{sign}z{rest}}"  # z: never minus zero
    if standard_error is None:
        return text
    return f"{text} ± {standard_error:{digits}}" if math.isfinite(standard_error) else f"{text} ± unknown"


def error_digits(standard_error: float | None) -> str:
    """The format that shows two digits of a standard error.

    >>> number(84996.3, "", 17092.0), number(15.0612, "", 0.966), number(2.0, "", 0.0)
    ('85,000 ± 17,000', '15.06 ± 0.97', '2 ± 0')
    """
    if not standard_error or not math.isfinite(standard_error):
        return ".4g"
    return f",.{max(0, 1 - math.floor(math.log10(standard_error)))}f"


def mean_over_rows(
    name: str,
    label: str,
    unit: str,
    kind: str,
    values: np.ndarray,
    shared_error: float = 0.0,
    weight: np.ndarray | None = None,
    **kwargs: Any,
) -> Metric:
    """The mean of values (n,) with its standard error over rows.

    Args:
        shared_error: standard error that all rows share, such as that of common draws.
        weight: (n,) how much rows count; None for all the same.
        **kwargs: further fields of `Metric`.
    """
    return from_estimate(name, label, unit, kind, mean_and_error(values, shared_error, weight), **kwargs)


def from_estimate(name: str, label: str, unit: str, kind: str, estimate: Estimate, **kwargs: Any) -> Metric:
    """An `Estimate` with its label, unit and kind; `kwargs` are further fields of `Metric`."""
    return Metric(name, label, unit, kind, estimate.mean, estimate.error, **kwargs)


def setting(name: str, label: str, value: Value, shown: str = INLINE) -> Metric:
    """A number that describes a measurement, such as its number of rows."""
    return Metric(name, label, "", SETTING, value, shown=shown, plain=True)


def to_tree(metrics: Iterable[Metric]) -> dict[str, Any]:
    """Nested plain values for JSON, by the dotted names.

    The value of a metric is its `mean`, or `count` if that is its kind. Numbers that are not finite are None, as JSON
    has none of them.

    >>> to_tree((Metric("a.b", "b", "nats", "density", 1.0, 0.5, details=(setting("a.b.rows", "rows", 3),)),))
    {'a': {'b': {'mean': 1.0, 'standard_error': 0.5, 'unit': 'nats', 'kind': 'density', 'rows': 3}}}
    """
    tree: dict[str, Any] = {}
    for metric in (one for top in metrics for one in top.walk()):
        *path, key = metric.name.split(".")
        node = tree
        for part in path:
            node = node.setdefault(part, {})
        value = list(map(finite_or_none, metric.value)) if isinstance(metric.value, tuple) else metric.value
        value, error = finite_or_none(value), finite_or_none(metric.standard_error)
        if metric.plain:
            node[key] = value
        else:
            record = {"count" if metric.kind == "count" else "mean": value, "standard_error": error}
            node[key] = {**record, "unit": metric.unit, "kind": metric.kind, **node.get(key, {})}
    return tree


def finite_or_none(value: Any) -> Any:
    """None for infinity and NaN, any other value as it is."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
