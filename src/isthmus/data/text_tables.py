"""Tables of text (.csv, .tsv, also compressed): how they are written is guessed from their first rows, and said."""

from __future__ import annotations

import contextlib
import csv
import gzip
import itertools
import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TextIO

from isthmus.data.dataset import Dataset
from isthmus.data.guards import require_memory
from isthmus.errors import InputError
from isthmus.examples import Examples

if TYPE_CHECKING:
    import pandas as pd

SEPARATORS = "\t;|,"
"""Between columns; a comma may also stand before decimals."""
GUESSED_ROWS, GUESSED_LINES = 20, 60
"""First rows by which the form of a table is guessed, and lines that are read for them."""
MISSING = ("", "na", "nan", "?", "null")
"""How a cell without a value is written, in lower case."""
DECIMAL_COMMA = re.compile(r"[-+]?\d*,\d+(e[-+]?\d+)?", re.I)
DECIMAL_POINT = re.compile(r"[-+]?\d*\.\d+(e[-+]?\d+)?", re.I)
UNNAMED = re.compile(r"|Unnamed: \d+(_level_\d+)?(\.\d+)*")
"""Names that pandas gives to a column without one, or to its index on the way through a file."""
DECOMPRESSED_AT_ONCE = 2**24
"""Bytes of a compressed file that are counted at once."""


def from_csv(path: Path, source: str, keep: str | None = None) -> Dataset:
    """Read a UTF-8 table; what is guessed of its form is said in a warning, unless it is that of `DataFrame.to_csv`.

    Args:
        path: of the file.
        source: what errors call it.
        keep: a column that is kept even if it looks like the index of the rows.

    Raises:
        InputError: where two columns have the same name.
    """
    import pandas as pd

    require_memory_of_text(path, source)
    with open_text(path) as file:
        form = guess_form(file)
    names = form.names
    repeated = next((name for name in names if name and names.count(name) > 1), None)
    if repeated is not None:
        raise InputError(
            f"columns of {source} must have names of their own, got {names.count(repeated)} columns named {repeated!r}."
        )
    with open_text(path) as file, warnings.catch_warnings():
        # pandas would only warn of a row longer than the header, and drop its end or use its start as an index.
        warnings.simplefilter("error", pd.errors.ParserWarning)
        frame = pd.read_csv(
            file,
            sep=form.separator,
            dtype=str if form.decimal == "," else None,
            header=0 if names else None,
            index_col=False,
            skipinitialspace=True,
            low_memory=False,
        )
    if form.decimal == ",":
        frame = frame.apply(lambda column: with_points(column, source))
    notes = form.notes("\t" if ".tsv" in path.name.lower() else ",")
    frame = frame.rename(columns=lambda name: str(name).strip())
    while len(frame.columns) > 1 and frame.columns[0] != keep and is_index(frame.columns[0], frame.iloc[:, 0]):
        if list(frame.iloc[:, 0]) != list(range(len(frame))):
            notes.append("the first column, which has no name, is taken for the index of the rows and left out")
        frame = frame.iloc[:, 1:]
    if notes:
        warnings.warn(f"{source}: {'; '.join(notes)}.", UserWarning, stacklevel=2)
    return Dataset(source, Examples(frame))


def open_text(path: Path) -> TextIO:
    """A text file, decompressed if its name ends in .gz, without the mark that some programs put at its start."""
    if path.suffix.lower() == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def require_memory_of_text(path: Path, source: str) -> None:
    """Raise InputError if a text file does not fit into memory, decompressed."""
    if path.suffix.lower() != ".gz":
        return require_memory(path.stat().st_size, source)
    size = 0
    with gzip.open(path) as file:  # what its last bytes say of the size is not to be trusted
        while block := file.read(DECOMPRESSED_AT_ONCE):
            size += len(block)
            require_memory(size, source)


class TableForm(NamedTuple):
    """How a text table is written."""

    separator: str
    """Between columns."""
    decimal: str
    """Before the decimals of a number."""
    names: list[str]
    """Of the columns; none where the first line is a row."""
    several: bool
    """Whether there is more than one column."""

    def notes(self, separator: str) -> list[str]:
        """What is not as `DataFrame.to_csv` writes it with this separator."""
        notes = []
        if self.several and (self.separator, self.decimal) != (separator, "."):
            called = {"\t": "a tab"}.get(self.separator, repr(self.separator))
            notes.append(f"columns are separated by {called}, decimals by {self.decimal!r}")
        number = next((name for name in self.names if is_number(name)), None)
        if not self.names:
            notes.append(
                "there is no header, for the first line is like the others; columns are named 0, 1, 2 and so on"
            )
        elif number is not None and not counts_up(self.names):
            notes.append(f"the first line is read as the header, although {number!r} is a number")
        return notes


def guess_form(file: TextIO) -> TableForm:
    """The form of a table by its first rows: the separator that divides all alike and leaves most numbers."""
    lines = list(itertools.islice((line for line in file if line.strip()), GUESSED_LINES))
    present = [separator for separator in SEPARATORS if lines and separator in lines[0]] or [","]
    rows = {separator: first_rows(lines, separator) for separator in present}
    scores = {separator: share_of_numbers(rows[separator], separator) for separator in present}
    separator = max(present, key=lambda each: scores[each])
    decimal = decimal_of(separator, rows[separator])
    pointed = [[in_points(cell, decimal) for cell in row] for row in rows[separator]]
    first = rows[separator][0]
    return TableForm(separator, decimal, [] if is_data_row(pointed[0], pointed[1:]) else first, len(first) > 1)


def first_rows(lines: list[str], separator: str) -> list[list[str]]:
    """The cells of the first rows, at least one row; a cell may go on over several lines."""
    try:
        rows = [[cell.strip() for cell in row] for row in csv.reader(lines, delimiter=separator)]
    except csv.Error:  # a cell longer than the reader takes
        rows = [[cell.strip() for cell in line.split(separator)] for line in lines]
    if len(lines) == GUESSED_LINES and len(rows) > 1:
        rows = rows[:-1]  # which may be cut
    return rows[:GUESSED_ROWS] or [[]]


def share_of_numbers(rows: list[list[str]], separator: str) -> float:
    """Share of the cells below the first row that are numbers; -1 where rows differ in length."""
    if len({len(row) for row in rows}) > 1:
        return -1.0
    body, decimal = [cell for row in rows[1:] or rows for cell in row], decimal_of(separator, rows)
    return sum(is_number(in_points(cell, decimal)) for cell in body) / max(1, len(body))


def decimal_of(separator: str, rows: list[list[str]]) -> str:
    """What stands before the decimals: a comma where some numbers have one, none a point, and no name a comma."""
    first, body = rows[0] if rows else [], [cell for row in rows[1:] or rows for cell in row]
    named = any("," in cell and not DECIMAL_COMMA.fullmatch(cell) for cell in first)
    comma = any(map(DECIMAL_COMMA.fullmatch, body)) and not any(map(DECIMAL_POINT.fullmatch, body))
    return "," if separator != "," and comma and not named else "."


def in_points(cell: str, decimal: str) -> str:
    """A cell with a point before its decimals."""
    return cell.replace(",", ".") if decimal == "," else cell


def with_points(column: pd.Series, source: str) -> pd.Series:
    """A column of text whose numbers have decimal commas, as numbers where all of it are.

    Raises:
        InputError: for a number with a point, which may stand between thousands.
    """
    import pandas as pd

    cells = column.dropna().str.strip()
    points = cells[cells.str.fullmatch(DECIMAL_POINT.pattern, flags=re.I)]
    if len(points):
        raise InputError(
            f"numbers of {source} must have either decimal commas or points, got {points.iloc[0]!r} in column "
            f"{str(column.name)!r} beside commas. Write numbers without points between thousands."
        )
    numbers = pd.to_numeric(column.str.strip().str.replace(",", ".", regex=False), errors="coerce")
    return numbers if bool((numbers.isna() == column.isna()).all()) else column


def is_data_row(cells: list[str], rest: list[list[str]]) -> bool:
    """Whether the first line of a table is data, by its cells and those of the lines below.

    Numbers are, unless they count up by one, as default names (0, 1, 2) and years do. So is a line with words and
    numbers over columns of the same kinds, if one of its words occurs again below it.
    """
    numbers = [float(cell) for cell in cells if is_number(cell)]
    if not numbers or not cells[0]:
        return False
    missing = [cell.lower() in MISSING for cell in cells]
    if len(numbers) + sum(missing) == len(cells):
        return not counts_up(cells)
    columns = [[row[j] for row in rest if j < len(row)] for j in range(len(cells))]
    alike = bool(rest) and all(
        gap or is_number(cell) == any(map(is_number, column))
        for cell, gap, column in zip(cells, missing, columns, strict=True)
    )
    words = [j for j, cell in enumerate(cells) if not is_number(cell) and not missing[j]]
    return alike and any(cells[j] in columns[j] for j in words)


def is_number(cell: str) -> bool:
    """Whether a cell spells a number."""
    with contextlib.suppress(ValueError):
        float(cell)
        return True
    return False


def counts_up(cells: list[str]) -> bool:
    """Whether the numbers among the cells are whole and count up by one; a single one from 0."""
    numbers = [float(cell) for cell in cells if is_number(cell)]
    if not numbers or numbers[0] % 1 or (len(numbers) == 1 and numbers != [0.0]):
        return False
    return all(b - a == 1 for a, b in itertools.pairwise(numbers))


def is_index(name: str, column: pd.Series) -> bool:
    """Whether a column is the index of the rows, as pandas and R write it: without a name, whole numbers or words."""
    kind = getattr(column.dtype, "kind", "O")
    if UNNAMED.fullmatch(name) is None or kind == "b" or bool(column.isna().any()):
        return False
    return kind != "f" or bool((column % 1 == 0).all())
