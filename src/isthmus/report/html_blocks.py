"""What a page is built of: figures with text alternatives, tables, sections."""

from __future__ import annotations

import hashlib
import io
import re
from typing import NamedTuple

import matplotlib
from markupsafe import Markup, escape
from matplotlib.figure import Figure

from isthmus.plot.style import BLUE, INK, MUTED, ORANGE, PALE, lay_out
from isthmus.plot.tables import Table

THEME = {INK: "var(--ink)", MUTED: "var(--muted)", PALE: "var(--pale)", BLUE: "var(--blue)", ORANGE: "var(--orange)"}
"""Colours of a figure that the page replaces, so that they suit a light and a dark background."""
PIXELS_PER_INCH = 96
"""Of a page, by CSS."""
MIN_WIDTH_PIXELS = 560
"""A chart is not shrunk below this on a narrow screen, where its text would become illegible; it scrolls. Sheets of
images are not shrunk at all."""


class Picture(NamedTuple):
    """A figure as markup that is safe to put on a page, its text alternative inside, and the caption below it."""

    markup: Markup
    caption: str = ""


class Section(NamedTuple):
    """A part of the page under a heading: figures and tables."""

    key: str
    title: str
    blocks: list[Picture | Table]


def svg(figure: Figure, alt: str, caption: str = "") -> Picture:
    """A figure as SVG inside the page: its text stays text, its colours follow the page, its ids are unique."""
    lay_out(figure)
    out = io.StringIO()
    # Names inside the file are made from the salt; without one they change from call to call.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "isthmus"}):
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = out.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r"<[^>]+>", shortened, text)
    for colour, variable in THEME.items():
        text = text.replace(colour, variable)
    used = set(re.findall(r"[#]([\w-]+)[\")]", text))
    key = hashlib.blake2b(text.encode(), digest_size=4).hexdigest()
    text = re.sub(r' id="([\w.-]+)"', lambda name: f' id="{key}-{name[1]}"' if name[1] in used else "", text)
    text = re.sub(r"(url\(#|xlink:href=\"#)", lambda use: f"{use[1].replace('xlink:', '')}{key}-", text)
    text = re.sub(r"\s*\n\s*", "\n", text)
    width, height = (round(side * PIXELS_PER_INCH) for side in figure.get_size_inches())
    box = f"0 0 {width * 0.75:g} {height * 0.75:g}"  # points
    least = width if any(axis.images for axis in figure.axes) else min(width, MIN_WIDTH_PIXELS)
    size = f'width="{width}" height="{height}" style="min-width: {least}px"'
    head = f'<svg role="img" aria-label="{escape(alt)}" viewBox="{box}" {size}>'
    return Picture(Markup(head + text[text.index(">") + 1 :].strip()), caption)


def shortened(tag: re.Match[str]) -> str:
    """A tag with two decimals in every number; images, whose data may look like numbers, are left alone."""
    return tag[0] if tag[0].startswith("<image") else re.sub(r"(\d\.\d\d)\d+", r"\1", tag[0])
