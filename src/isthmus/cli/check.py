"""`isthmus check DATA`."""

from __future__ import annotations

import argparse

from isthmus.cli.common import add_column_options, roles_given
from isthmus.cli.flags import text_parser, text_types
from isthmus.cli.image_arguments import add_image_options, image_options
from isthmus.cli.parser import EXIT_ERROR_FOUND, Parser, command_parser, emit
from isthmus.model_registry import models


def build_parser(argv: list[str]) -> Parser:
    parser = command_parser("check")
    parser.add_argument("data", metavar="DATA", help="a built-in name (see `isthmus data`) or a path")
    add_column_options(parser)
    parser.add_argument(
        "--likelihood",
        type=text_parser(text_types(models()["VAE"].fields["likelihood"])),
        default="auto",
        metavar="NAME|NAME,NAME",
        help="check against this likelihood, or one for each column (default: auto)",
    )
    parser.add_argument("--scaling", default="auto", help="check against this scaling (default: auto)")
    parser.add_argument("--levels", type=int, default=None, metavar="N", help="number of grey levels of integer data")
    add_image_options(parser)
    return parser


def run(args: argparse.Namespace) -> int:
    from isthmus.data.sources import read_raw
    from isthmus.data_checks import check

    dataset = read_raw(args.data, roles_given(args), image_options(args))
    result = check(dataset, likelihood=args.likelihood, scaling=args.scaling, levels=args.levels)
    emit(args, result.to_dict(), str(result))
    return 0 if result.usable else EXIT_ERROR_FOUND
