"""Tables of text (.csv, .tsv, also compressed): how they are written is guessed from their first rows, and said."""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import itertools
import re
import warnings
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple, TextIO

from isthmus.data.column_roles import NO_ROLES, ColumnRoles
from isthmus.data.dataset import Dataset
from isthmus.data.guards import fits_in_memory, require_memory
from isthmus.data.row_names import is_index, without_index
from isthmus.data.tables import take_columns
from isthmus.errors import InputError
from isthmus.examples import Examples
from isthmus.wording import pluralize

if TYPE_CHECKING:
    import pandas as pd

SEPARATORS = "\t;|,"
"""Between columns; a comma may also stand before decimals."""
QUOTED_NAMES = re.compile(r'\s*"[^"]*"(\s+"[^"]*")+\s*')
"""A header of names in quotes with spaces between them, as R writes it."""
GUESSED_ROWS, GUESSED_LINES = 20, 60
"""First rows by which the form of a table is guessed, and lines that are read for them."""
MISSING = ("", "na", "nan", "?", "null")
"""How a cell without a value is written, in lower case."""
DECIMAL_COMMA = re.compile(r"[-+]?\d*,\d+(e[-+]?\d+)?", re.I)
DECIMAL_POINT = re.compile(r"[-+]?\d*\.\d+(e[-+]?\d+)?", re.I)
THOUSANDS = re.compile(r"[-+]?[1-9]\d{0,2},\d{3}")
COMPRESSED = (".gz", ".zst")
"""Ends of the names of compressed tables."""
ZST_BYTES_AT_ONCE = 2**11
"""Compressed bytes that are decompressed at once: they may become 30,000 times as many."""
BYTES_AT_ONCE = 2**24
"""Bytes of a file that are counted at once."""
ROW_NAMES = "Unnamed: 0"
"""What pandas calls a first column without a name, and so is the one that R writes without a cell in the header."""
BYTES_PER_CELL = 14
"""Memory that pandas takes to read a cell, at its peak, beside that of the text."""


def from_csv(path: Path, source: str, roles: ColumnRoles = NO_ROLES) -> Dataset:
    """Read a UTF-8 table; what is guessed of its form is said in a warning, unless it is that of `DataFrame.to_csv`.

    Args:
        path: of the file.
        source: what errors call it.
        roles: columns with a role are kept even if they look like the index of the rows.

    Raises:
        InputError: where two columns have the same name, or columns have none.
    """
    import pandas as pd

    with open_text(path) as file:
        form = guess_form(file, spaces=".txt" in path.suffixes)
    require_memory_of_text(path, source, form.separator)
    names = form.names
    repeated = next((name for name in names if name and names.count(name) > 1), None)
    if repeated is not None:
        raise InputError(
            f"columns of {source} must have names of their own, got {names.count(repeated)} columns named {repeated!r}."
        )
    got = f"{pluralize(len(names), 'name')} and longer rows"
    too_few = InputError(f"the header of {source} must have a name for each column, got {got}. Add what is missing.")
    with open_text(path) as file, warnings.catch_warnings():
        # pandas would only warn of a row longer than the header, and drop its end or use its start as an index.
        warnings.simplefilter("error", pd.errors.ParserWarning)
        try:
            frame = pd.read_csv(
                file,
                sep=r"\s+" if form.separator == " " else form.separator,
                dtype=str if form.decimal == "," else None,
                header=0 if names else None,
                names=[ROW_NAMES, *names] if form.row_names else None,
                index_col=False,
                skipinitialspace=True,
                low_memory=False,
            )
        except pd.errors.ParserWarning:
            raise too_few from None
    if form.decimal == ",":
        frame = frame.apply(lambda column: with_points(column, source))
    frame = frame.rename(columns=lambda name: str(name).strip())
    if form.row_names and not (frame.iloc[:, 0].is_unique and is_index(frame.iloc[:, 0])):
        raise too_few
    frame, index_notes = without_index(frame, roles, said=form.row_names)
    notes = [*form.notes("\t" if ".tsv" in path.name.lower() else ","), *index_notes]
    if notes:
        warnings.warn(f"{source}: {'; '.join(notes)}.", UserWarning, stacklevel=2)
    return take_columns(Dataset(source, Examples(frame)), roles)


def open_text(path: Path) -> TextIO:
    """A text file, decompressed by the end of its name, without the mark that some programs put at its start."""
    return io.TextIOWrapper(open_bytes(path), encoding="utf-8-sig", newline="")


def open_bytes(path: Path) -> Any:
    """A binary file, decompressed if its name ends in .gz or .zst.

    Raises:
        InputError: for .zst without the package that reads it.
    """
    suffix = path.suffix.lower()
    if suffix == ".gz":
        return gzip.open(path)
    file = path.open("rb")
    return io.BufferedReader(Zst(file)) if suffix == ".zst" else file


class Zst(io.RawIOBase):
    """A .zst file, decompressed. Unlike the stream reader of `zstandard`, it does not take a truncated file for whole.

    Raises:
        InputError: without that package.
        EOFError: at the end of a truncated file.
    """

    def __init__(self, file: IO[bytes]):
        try:
            import zstandard
        except ImportError:
            file.close()
            raise InputError(
                f"cannot read {file.name}: .zst is read by another package. Install it: pip install zstandard"
            ) from None
        self.file, self.decompressor = file, zstandard.ZstdDecompressor()
        self.frame = self.decompressor.decompressobj()
        self.compressed = self.decompressed = b""
        self.between_frames = True

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self.decompressed:
            self.compressed = self.compressed or self.file.read(ZST_BYTES_AT_ONCE)
            if not self.compressed:
                if not self.between_frames:
                    raise EOFError("the file ends in the middle of its data")
                return 0
            self.decompressed = self.frame.decompress(self.compressed)
            self.compressed, self.between_frames = self.frame.unused_data, self.frame.eof
            if self.frame.eof:
                self.frame = self.decompressor.decompressobj()
        n = min(len(buffer), len(self.decompressed))
        buffer[:n], self.decompressed = self.decompressed[:n], self.decompressed[n:]
        return n

    def close(self) -> None:
        self.file.close()
        super().close()


def require_memory_of_text(path: Path, source: str, separator: str) -> None:
    """Raise InputError if the cells of a text file do not fit into memory; a compressed file is read for that."""
    if path.suffix.lower() not in COMPRESSED and fits_in_memory((1 + BYTES_PER_CELL) * path.stat().st_size):
        return
    n_bytes = 0
    with open_bytes(path) as file:  # what a compressed file says of its size is not to be trusted
        while block := file.read(BYTES_AT_ONCE):
            n_cells = block.count(separator.encode()) + block.count(b"\n")
            n_bytes += len(block) + BYTES_PER_CELL * n_cells
            require_memory(n_bytes, source)


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
    ambiguous: str = ""
    """A number whose comma may also stand between thousands, where that holds of all of them."""
    row_names: bool = False
    """Whether rows begin with a name that the header has no cell for, as `write.table` of R writes them."""

    def notes(self, separator: str) -> list[str]:
        """What is not as `DataFrame.to_csv` writes it with this separator."""
        notes = []
        if self.several and (self.separator, self.decimal) != (separator, "."):
            called = {"\t": "a tab", " ": "a space"}.get(self.separator, repr(self.separator))
            notes.append(f"columns are separated by {called}, decimals by {self.decimal!r}")
        elif self.decimal != ".":
            notes.append(f"decimals are separated by {self.decimal!r}")
        if self.ambiguous:
            point = self.ambiguous.replace(",", ".")
            notes.append(
                f"{self.ambiguous} is read as {point}; if the comma stands between thousands, write numbers without it"
            )
        if self.row_names:
            cells = f"the header has {pluralize(len(self.names), 'cell')} and rows have {len(self.names) + 1}"
            notes.append(f"{cells}: the first cell of each row is taken for its name, as R writes it")
        number = next((name for name in self.names if is_number(name)), None)
        if not self.names:
            notes.append(
                "there is no header, for the first line is like the others; columns are named 0, 1, 2 and so on"
            )
        elif number is not None and not counts_up(self.names):
            notes.append(f"the first line is read as the header, although {number!r} is a number")
        return notes


def guess_form(file: TextIO, spaces: bool = False) -> TableForm:
    """The form of a table by its first rows: the separator that divides all alike and leaves most numbers.

    Args:
        file: the table.
        spaces: whether spaces may stand between columns; else they do only between names in quotes.
    """
    lines = list(itertools.islice((line for line in file if line.strip()), GUESSED_LINES))
    present = [separator for separator in SEPARATORS if lines and separator in lines[0]] or [",", ";", "\t"]
    if spaces or (lines and QUOTED_NAMES.fullmatch(lines[0])):
        present.append(" ")
    rows = {separator: first_rows(lines, separator) for separator in present}
    quoted = all(line.lstrip().startswith('"') for line in lines[1:])
    named = {each: (quoted or (spaces and each == " ")) and has_row_names(rows[each]) for each in present}
    scores = {each: score_of_separator(rows[each], each, named[each]) for each in present}
    divided = [separator for separator in present if len(rows[separator][-1]) > 1 and scores[separator] > -1]
    if " " in divided and len(divided) > 1:
        scores[" "] = -2.0  # spaces are then within names
    separator = max(present, key=lambda each: scores[each])
    decimal = decimal_of(separator, rows[separator])
    pointed = [[in_points(cell, decimal) for cell in row] for row in rows[separator]]
    first = rows[separator][0]
    names = [] if not named[separator] and is_data_row(pointed[0], pointed[1:]) else first
    several, ambiguous = len(rows[separator][-1]) > 1, ambiguous_number(rows[separator], decimal)
    return TableForm(separator, decimal, names, several, ambiguous, named[separator])


def ambiguous_number(rows: list[list[str]], decimal: str) -> str:
    """The first number with a comma, if all of them could have it between thousands; else ""."""
    commas = [cell for row in rows for cell in row if decimal == "," and DECIMAL_COMMA.fullmatch(cell)]
    return commas[0] if commas and all(map(THOUSANDS.fullmatch, commas)) else ""


def first_rows(lines: list[str], separator: str) -> list[list[str]]:
    """The cells of the first rows, at least one row; a cell may go on over several lines."""
    try:
        stripped = [line.strip() for line in lines] if separator == " " else lines
        reader = csv.reader(stripped, delimiter=separator, skipinitialspace=separator == " ")
        rows = [[cell.strip() for cell in row] for row in reader]
    except csv.Error:  # a cell longer than the reader takes
        rows = [[cell.strip() for cell in line.split(separator)] for line in lines]
    if len(lines) == GUESSED_LINES and len(rows) > 1:
        rows = rows[:-1]  # which may be cut
    return rows[:GUESSED_ROWS] or [[]]


def score_of_separator(rows: list[list[str]], separator: str, named: bool) -> float:
    """How well a separator divides the first rows: the share of numbers, half of it where rows have names.

    A comma before the decimals of a single column would otherwise divide it into names and numbers.
    """
    if not named:
        return share_of_numbers(rows, separator)
    share = share_of_numbers([rows[0], *(row[1:] for row in rows[1:])], separator)
    return share / 2 if share else -0.5


def has_row_names(rows: list[list[str]]) -> bool:
    """Whether rows, whose first cells may be names of them, have one cell more than the header.

    Names are unlike each other: words or whole numbers. It is asked only where they are in quotes, as R writes them, or
    between spaces: below a header that has lost a name, columns of words look the same.
    """
    header, body = rows[0], rows[1:]
    if not body or {len(row) for row in body} != {len(header) + 1} or not all(header) or not any(r[-1] for r in body):
        return False
    names = [row[0] for row in body]
    if not all(names) or len(set(names)) < len(names) or any(is_number(n) and not n.isdecimal() for n in names):
        return False
    return not is_data_row(header, [row[1:] for row in body])


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
