"""`isthmus encode RUN DATA -o FILE`."""

from __future__ import annotations

import argparse
from pathlib import Path

from isthmus.cli.common import (
    examples_parser,
    labels_beside,
    lengths_beside,
    load_to_write,
    named_ids,
    read_examples,
    run_roles,
    write_output,
)
from isthmus.cli.parser import Parser
from isthmus.errors import InputError


def build_parser(argv: list[str]) -> Parser:
    parser = examples_parser("encode", ".npz, .npy, .csv or .parquet")
    parser.add_argument(
        "--draws",
        type=int,
        metavar="K",
        help="write K draws from q(z given x) of each row instead of its centre: an array (K, rows, ...), or the draws "
        "of a table one below the other, with the columns draw and row",
    )
    parser.add_argument("--random-state", type=int, metavar="N", help="seed of the draws (default: a random one)")
    return parser


def run(args: argparse.Namespace) -> None:
    from isthmus.estimators.training_setup import resolve_seed
    from isthmus.export import one_below_the_other

    if args.random_state is not None and args.draws is None:
        raise InputError(
            f"--random-state must come with --draws, got {args.random_state} alone: without draws nothing is random. "
            "Leave it out, or add --draws."
        )
    model = load_to_write(args, args.data, of_data=False)
    examples = read_examples(args, model)
    if not model.capabilities.encodes:
        raise InputError(f"{model.name} has no codes, so it cannot encode data.")
    ids, names = named_ids(args, examples), [f"{model.name.lower()}{i}" for i in range(model.code_size)]
    labels = labels_beside(args, examples.y, args.condition or run_roles(args.run).condition, names)
    labels |= lengths_beside(args, model, len(examples), examples.lengths)
    if args.draws is None:
        arrays = {"z": model.encode(examples), **labels}
    else:
        codes = model.sample_posterior(examples, args.draws, resolve_seed(args.random_state))
        arrays = {"z": codes, **labels}
        if Path(args.output).suffix.lower() not in (".npz", ".npy"):
            arrays = one_below_the_other(arrays)
            ids = ids and (ids[0], ids[1][arrays["row"]])
    write_output(args, "codes", arrays, names, model, ids, len(examples))
