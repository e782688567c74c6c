"""Numbers and counts as text, for titles, captions, text alternatives and pages."""

from __future__ import annotations

import math
from typing import Any

import numpy as np


def number(value: Any, digits: int = 4) -> str:
    """A number for reading: a typographic minus sign, `digits` significant digits.

    >>> number(-0.123456), number(12345.678), number(3.0), number(float("nan")), number(2e-9), number(4.2e12)
    ('−0.1235', '12,346', '3', 'not a number', '2e−09', '4.2e+12')
    """
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.number):
        return str(value)
    if isinstance(value, int | np.integer):
        return minus(f"{value:,}")
    value = float(value)
    if not math.isfinite(value):
        return "not a number" if math.isnan(value) else "infinite"
    if 10**digits <= abs(value) < 1e9:
        return minus(f"{value:,.0f}")
    return minus(f"{value + 0.0:.{digits}g}")


def minus(text: str) -> str:
    """A number in text with the typographic minus sign, as wide as a plus."""
    return text.replace("-", "−")


def with_error(mean: float, error: float | None) -> str:
    """A mean with its standard error, to the second significant digit of the error.

    >>> with_error(-79.5712, 0.8934), with_error(1234.5, 17.2), with_error(0.5, None), with_error(2.0, 0.0)
    ('−79.57 ± 0.89', '1,234 ± 17', '0.5', '2')
    >>> with_error(-79.5712, math.inf)  # of one draw or one row
    '−79.57 ± unknown'
    """
    if error is None or not math.isfinite(mean) or error <= 0:
        return number(mean)
    if not math.isfinite(error):
        return f"{number(mean)} ± unknown"
    places = max(0, 1 - math.floor(math.log10(error)))
    if places > 8:
        return f"{number(mean)} ± {number(error, 2)}"
    return minus(f"{mean:,.{places}f} ± {error:,.{places}f}")


def range_of(values: Any, digits: int = 3) -> str:
    """The smallest and the largest of some numbers; NaN is left out.

    >>> range_of([3.0, -1.0])
    'from −1 to 3'
    """
    known = np.asarray(values, np.float64)
    known = known[np.isfinite(known)]
    return f"from {number(known.min(), digits)} to {number(known.max(), digits)}" if known.size else "not finite"
