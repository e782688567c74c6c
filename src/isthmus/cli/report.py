"""`isthmus report RUN [-o FILE]`."""

from __future__ import annotations

import argparse
from pathlib import Path

from isthmus.cli.common import add_output_options, check_output
from isthmus.cli.parser import Parser, command_parser, emit, log
from isthmus.errors import InputError


def build_parser(argv: list[str]) -> Parser:
    parser = command_parser("report")
    parser.add_argument("run", metavar="RUN", help="the folder of a trained model; its data must still be in place")
    parser.add_argument(
        "--draws", type=int, default=1000, metavar="K", help="samples per row for log p(x) (default: 1000)"
    )
    parser.add_argument(
        "--colour",
        metavar="COLUMN",
        action="append",
        default=[],
        help="add a map of the codes of all rows, coloured by a column of the data, or by label; may be repeated",
    )
    add_output_options(parser, "the page (default: report.html in RUN, which is replaced)", required=False)
    return parser


def run(args: argparse.Namespace) -> None:
    from isthmus.evaluation.splits import held_out
    from isthmus.persistence import run_dir
    from isthmus.report.from_run import measure

    if args.output is not None:
        check_output(args)
        if Path(args.output).suffix.lower() not in (".html", ".htm"):
            raise InputError(f"the page must end in .html, got {Path(args.output).name!r}.")
    log(args, "evaluating on held-out rows")
    opened = run_dir.reopen(Path(args.run))
    measured = measure(opened, held_out(opened), args.draws, colours=args.colour)
    if args.output is not None:
        check_output(args)  # it may have been made since
    path = measured.write_page(args.output)
    size = path.stat().st_size
    values = {"run": args.run, "file": str(path), "bytes": size, "rows": len(measured.held)}
    emit(args, values, f"wrote {path} ({size / 1e6:.1f} MB), a report on {measured.held.description}", quiet="")
