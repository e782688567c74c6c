"""`isthmus score RUN DATA -o FILE`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from isthmus.cli.common import check_output, examples_parser, named_ids, read_examples
from isthmus.cli.parser import Parser, emit, report
from isthmus.errors import InputError
from isthmus.wording import one_line

if TYPE_CHECKING:
    import numpy as np

SHOWN_ROWS, SHOWN_COLUMNS = 5, 3
"""Most unusual rows that are printed, and columns of each that are named."""
MIXTURES = ("mixture", "full_mixture", "refit")
"""Priors in which a few rows can have a component of their own."""
MAX_ID_CHARACTERS = 40
"""Length of the id of a row that is printed."""


def build_parser(argv: list[str]) -> Parser:
    parser = examples_parser("score", ".csv, .parquet or .npz")
    parser.add_argument(
        "--per-feature", action="store_true", help="write what each column costs too: E[-log p(x_j given z)], in nats"
    )
    parser.add_argument(
        "--draws",
        type=auto_or_int,
        default="auto",
        metavar="K",
        help="samples per row for log p(x); auto: as many as --tolerance needs (default: auto)",
    )
    parser.add_argument(
        "--tolerance",
        type=float,
        default=0.1,
        metavar="NATS",
        help="error of log p(x) that about nine rows in ten are within, with --draws auto (default: 0.1)",
    )
    parser.add_argument(
        "--max-draws",
        type=int,
        default=10_000,
        metavar="K",
        help="samples per row with --draws auto, at most (default: 10000)",
    )
    return parser


def auto_or_int(text: str) -> int | str:
    """A number of draws, or "auto"; what it cannot be is told by `score_rows`."""
    if text == "auto":
        return text
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be an integer >= 1 or auto, got {text!r}.") from None


def run(args: argparse.Namespace) -> None:
    import numpy as np

    from isthmus.export import check_score_file, write_scores
    from isthmus.metrics.draws_by_error import too_few_draws
    from isthmus.persistence.serialization import load_fitted
    from isthmus.train.progress import progress_of

    path = Path(args.output)
    check_score_file(path)
    check_output(args, args.data)
    model = load_fitted(args.run)
    examples = read_examples(args, model)
    rows, ids = model.check(examples), named_ids(args, examples)
    dense = model.capabilities.has_density
    if args.per_feature and not dense:
        raise InputError(f"{model.name} has no density, so no nats a column. Leave out --per-feature.")
    name, label = ("log_likelihood", "log p(x), nats") if dense else ("squared_error", "squared error")
    columns, elements = {"row": np.arange(len(rows))}, None
    if dense:
        with progress_of("scoring", not args.quiet) as show:
            within = {"tolerance": args.tolerance, "max_draws": args.max_draws}
            scored = model.score_rows(rows, args.draws, **within, progress=show)
        short = too_few_draws(scored, args.draws, args.tolerance, args.max_draws)
        if short is not None:
            report(f"warning: {short} Pass a larger --tolerance or --max-draws; the column `error` tells of each row.")
        columns |= {name: scored.values, "error": scored.error}
    else:
        columns[name] = model.squared_errors(rows)
    if args.per_feature:
        with progress_of("scoring columns", not args.quiet) as show:
            elements = model.element_distortion(rows, args.draws, show)
    scores = columns[name]
    check_output(args)  # it may have been made since
    names = write_scores(path, columns, elements, model.schema.names, ids)
    unusual = np.argsort(scores if dense else -scores, kind="stable")[:SHOWN_ROWS]
    causes = ["" for _ in unusual] if elements is None else [costly(elements, row, names) for row in unusual]
    values = {
        "file": str(path),
        "rows": len(rows),
        name: {"mean": float(scores.mean())},
        "unusual": [
            {"row": int(row)}
            | ({} if ids is None else {ids[0]: str(ids[1][row])})
            | {name: float(scores[row])}
            | ({} if elements is None else {"columns": cause})
            for row, cause in zip(unusual, causes)
        ],
    }
    shown = [str(row) if ids is None else one_line(str(ids[1][row]), MAX_ID_CHARACTERS) for row in unusual]
    width = max(10, *map(len, shown))
    lines = [f"wrote the scores of {len(rows):,} rows to {path}; mean {label}: {scores.mean():.2f}"]
    lines.append("most unusual rows" + (", counted from 0:" if ids is None else ":"))
    heads = ("row" if ids is None else ids[0], label, "" if elements is None else "unusual in (nats above its mean)")
    lines += [
        f"{row:>{width}}  {score:>16}  {cause}".rstrip()
        for row, score, cause in [heads, *zip(shown, [f"{scores[row]:.2f}" for row in unusual], causes)]
    ]
    prior = str(model.fields.get("prior"))
    if dense and prior.startswith(MIXTURES) and "flow" not in prior:
        lines.append(
            f"The prior is {prior}: a group of unusual rows that were trained on may be a component of it, and likely. "
            "To find those, fit with --prior normal."
        )
    emit(args, values, "\n".join(lines), quiet="")


def costly(elements: np.ndarray, row: int, names: Sequence[str]) -> str:
    """The columns that cost a row the most nats above their mean over all rows."""
    import numpy as np

    above = (elements[row] - elements.mean(0)).ravel()
    return ", ".join(f"{names[j]} (+{above[j]:.1f})" for j in np.argsort(-above)[:SHOWN_COLUMNS] if above[j] > 0)
