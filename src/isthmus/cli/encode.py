"""`isthmus encode RUN DATA -o FILE`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from isthmus.cli.common import (
    check_output,
    examples_parser,
    labels_beside,
    named_ids,
    read_examples,
    run_roles,
    write_output,
)
from isthmus.cli.parser import Parser
from isthmus.errors import InputError

if TYPE_CHECKING:
    import numpy as np


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
    from isthmus.persistence.serialization import load_fitted

    check_output(args, args.data)
    model = load_fitted(args.run)
    examples = read_examples(args, model)
    if not model.capabilities.encodes:
        raise InputError(f"{model.name} has no codes, so it cannot encode data.")
    ids, names = named_ids(args, examples), [f"{model.name.lower()}{i}" for i in range(model.code_size)]
    labels = labels_beside(args, examples.y, args.condition or run_roles(args.run).condition, names)
    if args.draws is None:
        arrays = {"z": model.encode(examples), **labels}
    else:
        codes = model.sample_posterior(examples, args.draws, resolve_seed(args.random_state))
        arrays = {"z": codes, **labels}
        if Path(args.output).suffix.lower() not in (".npz", ".npy"):
            arrays = one_below_the_other(arrays)
            ids = ids and (ids[0], ids[1][arrays["row"]])
    write_output(args, "codes", arrays, names, model, ids, len(examples))


def one_below_the_other(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Draws z (K, n, *Z) as (K * n, *Z), with the number of the draw, of the row and what belongs to it beside each."""
    import numpy as np

    codes = arrays.pop("z")
    draws, rows = np.indices(codes.shape[:2]).reshape(2, -1)
    beside = {name: np.asarray(values)[rows] for name, values in arrays.items()}
    return {"z": codes.reshape(-1, *codes.shape[2:]), "draw": draws, "row": rows, **beside}
