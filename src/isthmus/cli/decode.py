"""`isthmus decode RUN CODES -o FILE`."""

from __future__ import annotations

import argparse

from isthmus.cli import common
from isthmus.cli.main import Parser, command_parser


def parser(words: list[str]) -> Parser:
    made = command_parser("decode")
    made.add_argument("run", metavar="RUN", help="the folder of a trained model")
    made.add_argument("codes", metavar="CODES", help="what `isthmus encode` wrote: .npz (z), .npy, .csv or .parquet")
    made.add_argument("-o", "--output", metavar="FILE", required=True, help=".npz, .npy, .csv, .parquet or .png")
    made.add_argument("--condition", metavar="VALUE", help="the condition of all rows (else labels beside the codes)")
    return made


def run(arguments: argparse.Namespace) -> None:
    from isthmus.export import read_codes
    from isthmus.persistence.serialization import load

    model = load(arguments.run)
    codes, labels = read_codes(arguments.codes)
    condition = common.condition_of(arguments.condition, model)
    if condition is None and model.schema_.condition is not None:
        condition = labels
    made = model.inverse_transform(codes, condition=condition)
    common.write(arguments, "decoded", {"x": made}, list(model.schema_.names), model)
