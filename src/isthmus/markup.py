"""Tables of text as Markdown and as LaTeX."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

LATEX_CHARACTERS = {
    "\\": r"\textbackslash{}",
    **{character: "\\" + character for character in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "²": "$^2$",
    "±": r"$\pm$",
    "β": r"$\beta$",
}
NUMBER = re.compile(r"(>=)?([-+]?[\d,]*\.?\d+(?:e[-+]?\d+)?)(?: ± ([\d,]*\.?\d+(?:e[-+]?\d+)?))?( .*)?", re.DOTALL)
"""A number, perhaps a lower bound, perhaps with an error, perhaps followed by its unit."""


class Cell(NamedTuple):
    """Text in a table."""

    text: str
    bold: bool = False


def markdown_table(heading: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    """A table in Markdown; the first column is aligned to the left, the others to the right.

    >>> print(markdown_table(["model", "error"], [[Cell("a|b"), Cell("1.0", bold=True)]]))
    | model | error |
    |:--|--:|
    | a\\|b | **1.0** |
    """

    def line(texts: Sequence[str]) -> str:
        return f"| {' | '.join(texts)} |"

    body = [line([f"**{md(cell.text)}**" if cell.bold else md(cell.text) for cell in row]) for row in rows]
    return "\n".join([line(list(map(md, heading))), "|:--" + "|--:" * (len(heading) - 1) + "|", *body])


def md(text: str) -> str:
    """Text that Markdown shows as it is."""
    return re.sub(r"([\\|*_`<])", r"\\\1", " ".join(text.split()))


def latex_table(heading: Sequence[Sequence[str]], rows: Sequence[Sequence[Cell]]) -> str:
    """A `tabular` in LaTeX, with the rules of the package booktabs.

    >>> print(latex_table([["model", "error"]], [[Cell("a_b"), Cell("-1.0 ± 0.2", bold=True)]]))
    \\begin{tabular}{lr}
    \\toprule
    model & error \\\\
    \\midrule
    a\\_b & $\\mathbf{-1.0 \\pm 0.2}$ \\\\
    \\bottomrule
    \\end{tabular}

    Args:
        heading: lines of headings.
        rows: the cells; numbers are set in mathematics.
    """

    def line(texts: Sequence[str]) -> str:
        return f"{' & '.join(texts)} \\\\"

    width = len(heading[0])
    return "\n".join(
        [
            f"\\begin{{tabular}}{{l{'r' * (width - 1)}}}",
            "\\toprule",
            *(line(list(map(latex, texts))) for texts in heading),
            "\\midrule",
            *(line([latex_cell(cell) for cell in row]) for row in rows),
            "\\bottomrule",
            "\\end{tabular}",
        ]
    )


def latex(text: str) -> str:
    """Text that LaTeX shows as it is."""
    return "".join(LATEX_CHARACTERS.get(character, character) for character in " ".join(text.split()))


def latex_cell(cell: Cell) -> str:
    """A cell in LaTeX: a number with its error in mathematics, anything else as text.

    >>> latex_cell(Cell(">=1,234.5 ± 1e+02 nats")), latex_cell(Cell("50%"))
    ('$\\\\geq 1{,}234.5 \\\\pm 1 \\\\times 10^{2}$ nats', '$50$\\\\%')
    """
    match = NUMBER.fullmatch(cell.text) or NUMBER.fullmatch(cell.text.replace("%", " %", 1))
    if match is None:
        return f"\\textbf{{{latex(cell.text)}}}" if cell.bold else latex(cell.text)
    bound, value, error, unit = match.groups()
    formula = ("\\geq " if bound else "") + power(value) + (f" \\pm {power(error)}" if error else "")
    formula = f"\\mathbf{{{formula}}}" if cell.bold else formula
    return f"${formula}${latex_unit(unit)}"


def latex_unit(unit: str | None) -> str:
    """What follows a number."""
    text = latex(unit or "")
    return text if text.startswith(r"\%") or not text else f" {text}"


def power(number: str) -> str:
    """A number in mathematics: commas do not end anything, and exponents are powers of ten."""
    mantissa, _, exponent = number.replace(",", "{,}").partition("e")
    return f"{mantissa} \\times 10^{{{int(exponent)}}}" if exponent else mantissa
