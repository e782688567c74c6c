"""What a page is built of: pictures that carry their own words, tables, sections."""

from __future__ import annotations

import base64
import hashlib
import io
import math
import re
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from isthmus.report.style import BLUE, FEW_PIXELS, INK, MUTED, ORANGE, PALE, mosaic

THEME = {INK: "var(--ink)", MUTED: "var(--muted)", PALE: "var(--pale)", BLUE: "var(--blue)", ORANGE: "var(--orange)"}
"""Colours of a drawing that the page chooses, so that they suit its light and its dark form."""
TILE = 64
"""Pixels that the longer side of an image takes: two hundred of them, in colour, stay under four megabytes."""
WIDE = 152
"""Pixels that a sequence drawn as heat takes, five in a strip."""
MARGINS = (58, 8, 42, 8)
"""Pixels left of a pair of axes, right, below and above: room for their words, the same in every drawing of a row."""
INCH = 96
"""Pixels of a page in an inch, by CSS."""


class Picture(NamedTuple):
    """Markup that is safe to put on a page, and a few words beside it; the text alternative is in the markup."""

    markup: Markup
    label: str = ""


class Gallery(NamedTuple):
    """Pictures of a kind under one caption; `look` is "one", "pair", "grid" (panels), "strips" or "tiles"."""

    pictures: list[Picture]
    caption: str
    look: str = "grid"
    legend: tuple[tuple[str, str], ...] = ()
    """Colours and what they stand for."""


class Table(NamedTuple):
    """Words and numbers in rows; the first cell of each is its head."""

    caption: str
    head: list[str]
    rows: list[list[str]]
    folded: bool = False
    """Whether only the caption shows until it is opened."""
    look: str = "narrow"
    """"narrow" for numbers, which do not break, or "wordy"."""


class Section(NamedTuple):
    """A part of the page under a heading: sentences, then galleries and tables."""

    key: str
    title: str
    words: list[str]
    blocks: list[Gallery | Table]


def panel(x: str = "", y: str = "", *, width: int = 290, height: int = 200) -> tuple[Figure, Axes]:
    """A drawing of one pair of axes, in pixels of the page: small enough for a phone to show it as large as it is."""
    figure = Figure((width / INCH, height / INCH), dpi=INCH)
    left, right, below, above = MARGINS
    axis = figure.add_axes((left / width, below / height, 1 - (left + right) / width, 1 - (below + above) / height))
    axis.spines[["top", "right"]].set_visible(False)
    axis.spines[["left", "bottom"]].set_color(MUTED)
    axis.tick_params(labelsize=8, colors=MUTED, labelcolor=INK, length=2.5)
    axis.set_xlabel(x, fontsize=8.5, color=INK)
    axis.set_ylabel(y, fontsize=8.5, color=INK)
    axis.locator_params(nbins=5)
    return figure, axis


def svg(figure: Figure, alt: str, label: str = "") -> Picture:
    """A drawing as part of the page: text stays text, colours follow the page, no names clash with other drawings."""
    out = io.StringIO()
    # The names inside a file come from the salt: without one they change from call to call.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "isthmus"}):
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = out.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r"<[^>]+>", lambda tag: re.sub(r"(\d\.\d\d)\d+", r"\1", tag.group()), text)
    for colour, variable in THEME.items():
        text = text.replace(colour, variable)
    used = set(re.findall(r"[#]([\w-]+)[\")]", text))
    key = hashlib.blake2b(text.encode(), digest_size=4).hexdigest()
    text = re.sub(r' id="([\w.-]+)"', lambda name: f' id="{key}-{name[1]}"' if name[1] in used else "", text)
    text = re.sub(r"(url\(#|xlink:href=\"#)", lambda use: f"{use[1].replace('xlink:', '')}{key}-", text)
    text = re.sub(r"\s*\n\s*", "\n", text)
    width, height = (round(side * INCH) for side in figure.get_size_inches())
    box = f"0 0 {width * 0.75:g} {height * 0.75:g}"  # points
    head = f'<svg role="img" aria-label="{escape(alt)}" viewBox="{box}" width="{width}" height="{height}">'
    return Picture(Markup(head + text[text.index(">") + 1 :].strip()), label)


def strip(images: np.ndarray, alt: str, label: str = "", tile: int = TILE) -> Picture:
    """Images (n, h, w, 3) on [0, 1] side by side, with nothing between them, as a PNG inside the page."""
    sheet = mosaic(enlarged(images, tile), len(images), 4, 0.0)
    shown = np.rint(sheet * 255).astype(np.uint8)
    if (shown[..., 0] == shown[..., 1]).all() and (shown[..., 1] == shown[..., 2]).all():
        shown = shown[..., [0, 3]]
    out = io.BytesIO()
    Image.fromarray(shown).save(out, "PNG")
    data = base64.b64encode(out.getvalue()).decode()
    size = f'width="{sheet.shape[1]}" height="{sheet.shape[0]}"'
    return Picture(Markup(f'<img src="data:image/png;base64,{data}" alt="{escape(alt)}" {size}>'), label)


def enlarged(images: np.ndarray, tile: int) -> np.ndarray:
    """Images (n, h, w, 3) with an opaque fourth channel, their longer side near `tile` pixels.

    Few pixels are enlarged smoothly, for eyes read a shape and not squares; more by a whole number, so that all are
    alike.
    """
    high, wide = images.shape[1:3]
    large = max(high, wide)
    factor = tile / large if large > tile or large < FEW_PIXELS else tile // large
    size = (max(1, round(wide * factor)), max(1, round(high * factor)))
    how = Image.Resampling.BICUBIC if large < FEW_PIXELS else Image.Resampling.NEAREST
    how = Image.Resampling.LANCZOS if factor < 1 else how
    made = [Image.fromarray(np.rint(image * 255).astype(np.uint8)).resize(size, how) for image in images]
    shown = np.stack([np.asarray(image) for image in made]) / 255  # (n, H, W, 3)
    return np.concatenate([shown, np.ones_like(shown[..., :1])], -1)


def number(value: Any, digits: int = 4) -> str:
    """A number for eyes: a real minus sign, no more digits than tell.

    >>> number(-0.123456), number(12345.678), number(3.0), number(float("nan")), number(2e-9), number(4.2e12)
    ('−0.1235', '12,346', '3', 'not a number', '2e−09', '4.2e+12')
    """
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.number):
        return str(value)
    if isinstance(value, int | np.integer):
        return f"{value:,}".replace("-", "−")
    value = float(value)
    if not math.isfinite(value):
        return "not a number" if math.isnan(value) else "infinite"
    if 10**digits <= abs(value) < 1e9:
        return f"{value:,.0f}".replace("-", "−")
    return f"{value + 0.0:.{digits}g}".replace("-", "−")


def with_error(mean: float, error: float | None) -> str:
    """A mean with its standard error: as many places as the error's second digit.

    >>> with_error(-79.5712, 0.8934), with_error(1234.5, 17.2), with_error(0.5, None), with_error(2.0, 0.0)
    ('−79.57 ± 0.89', '1,234 ± 17', '0.5', '2')
    """
    if error is None or not (math.isfinite(error) and math.isfinite(mean)) or error <= 0:
        return number(mean)
    places = max(0, 1 - math.floor(math.log10(error)))
    if places > 8:
        return f"{number(mean)} ± {number(error, 2)}"
    return f"{mean:,.{places}f} ± {error:,.{places}f}".replace("-", "−")


def counted(n: int, what: str) -> str:
    """A number of things.

    >>> counted(1, "row"), counted(1200, "row")
    ('1 row', '1,200 rows')
    """
    return f"{n:,} {what}{'' if n == 1 else 's'}"


def from_to(values: Any) -> str:
    """The ends of numbers, in words; NaN left out."""
    known = np.asarray(values, np.float64)
    known = known[np.isfinite(known)]
    return f"from {number(known.min(), 3)} to {number(known.max(), 3)}" if known.size else "not finite"
