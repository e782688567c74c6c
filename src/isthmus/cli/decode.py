"""`isthmus decode RUN CODES -o FILE`."""

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
from isthmus.errors import InputError


def build_parser(argv: list[str]) -> Parser:
    parser = command_parser("decode")
    parser.add_argument("run", metavar="RUN", help="the folder of a trained model")
    parser.add_argument("codes", metavar="CODES", help="a file that `isthmus encode` wrote: .npz, .npy, .csv, .parquet")
    add_output_options(parser, DATA_FORMATS)
    parser.add_argument(
        "--condition", metavar="VALUE", help="one condition for all rows (default: the labels stored with the codes)"
    )
    parser.add_argument(
        "--id", metavar="COLUMN", help="the column of CODES that names the rows (default: as in training)"
    )
    return parser


def run(args: argparse.Namespace) -> None:
    from isthmus.data.column_roles import ColumnRoles
    from isthmus.export import Codes, one_below_the_other, read_codes

    model = load_to_write(args, args.codes)
    if not model.capabilities.encodes:
        raise InputError(f"{model.name} has no codes, so it cannot decode any.")
    known = run_roles(args.run)
    roles = ColumnRoles(id=args.id).beside(ColumnRoles(id=known.id))
    codes = read_codes(args.codes, roles, known.condition)
    if codes.z.ndim == 3 and codes.z.shape[-1] == model.code_size:
        given = {name: values for name, values in codes._asdict().items() if values is not None}
        codes = Codes(**one_below_the_other(given))
    condition = parse_condition(args.condition, model)
    if condition is None and model.schema.condition is not None:
        condition = codes.y
    ids = None if codes.ids is None else (roles.id or "id", codes.ids)
    n, names = len(codes.z), model.schema.names
    numbers = {name: values for name, values in codes.numbers.items() if name not in names}
    arrays = {"x": model.decode(codes.z, condition, codes.lengths), **numbers}
    arrays |= condition_beside(args, condition, n, names) | lengths_beside(args, model, n, codes.lengths)
    write_output(args, "decoded examples", arrays, names, model, ids)
