"""`isthmus check DATA`."""

from __future__ import annotations

import argparse
import json

from isthmus.cli.main import Parser, command_parser

ERROR_FOUND = 3


def parser(words: list[str]) -> Parser:
    made = command_parser("check")
    made.add_argument("data", metavar="DATA", help="a built-in name (`isthmus data`) or a path")
    made.add_argument("--condition", metavar="COLUMN", help="a column of a table that is not data but a label")
    made.add_argument("--likelihood", default="auto", help="check against this likelihood instead of the chosen one")
    made.add_argument("--scaling", default="auto", help="check against this scaling: auto, standard, global or none")
    made.add_argument("--levels", type=int, default=None, help="grey levels of integer data")
    return made


def run(arguments: argparse.Namespace) -> int:
    from isthmus.data import read_raw
    from isthmus.data_checks import check

    dataset = read_raw(arguments.data, condition=arguments.condition)
    report = check(dataset, likelihood=arguments.likelihood, scaling=arguments.scaling, levels=arguments.levels)
    print(json.dumps(report.to_dict()) if arguments.json else str(report))
    return 0 if report.usable else ERROR_FOUND
