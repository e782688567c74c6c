"""`isthmus sample RUN -n 64 -o FILE`."""

from __future__ import annotations

import argparse

from isthmus.cli.common import (
    DATA_FORMATS,
    add_output_options,
    condition_beside,
    lengths_beside,
    load_to_write,
    parse_condition,
    run_roles,
    write_output,
)
from isthmus.cli.parser import Parser, command_parser
from isthmus.errors import MAX_LISTED_NAMES, InputError
from isthmus.wording import join_names


def build_parser(argv: list[str]) -> Parser:
    parser = command_parser("sample")
    parser.add_argument("run", metavar="RUN", help="the folder of a trained model")
    parser.add_argument("-n", type=int, default=64, metavar="N", help="number of examples (default: 64)")
    add_output_options(parser, DATA_FORMATS)
    parser.add_argument("--condition", metavar="VALUE", help="condition on a label, or on numbers separated by commas")
    parser.add_argument("--mean", action="store_true", help="write the mean E[x given z] of each z instead of a draw")
    parser.add_argument("--random-state", type=int, default=None, metavar="N", help="seed (default: a random one)")
    return parser


def run(args: argparse.Namespace) -> None:
    from isthmus.estimators.training_setup import resolve_seed

    model = load_to_write(args)
    column = run_roles(args.run).condition
    if args.condition is None and column is not None:
        known = model.schema.condition
        values = join_names(map(str, known.classes), MAX_LISTED_NAMES) if known and known.classes else "numbers"
        raise InputError(f"--condition must be a value of the column {column!r} ({values}), got none.")
    condition = parse_condition(args.condition, model)
    x = model.sample(args.n, condition, resolve_seed(args.random_state), args.mean)
    names = model.schema.names
    arrays = {"x": x, **condition_beside(args, condition, len(x), names), **lengths_beside(args, model, len(x))}
    write_output(args, "samples", arrays, names, model)
