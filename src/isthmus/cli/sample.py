"""`isthmus sample RUN -n 64 -o FILE`."""

from __future__ import annotations

import argparse

from isthmus.cli import common
from isthmus.cli.main import Parser, command_parser
from isthmus.errors import InputError


def parser(words: list[str]) -> Parser:
    made = command_parser("sample")
    made.add_argument("run", metavar="RUN", help="the folder of a trained model")
    made.add_argument("-n", type=int, default=64, help="how many (default: 64)")
    made.add_argument("-o", "--output", metavar="FILE", required=True, help=".npz, .npy, .csv, .parquet or .png")
    made.add_argument("--condition", metavar="VALUE", help="the condition: a label, or numbers with commas")
    made.add_argument("--mean", action="store_true", help="E[x given z] of drawn codes instead of draws of x")
    made.add_argument("--random-state", type=int, default=None, help="seed")
    return made


def run(arguments: argparse.Namespace) -> None:
    from isthmus.persistence.serialization import load

    model = load(arguments.run)
    if not model.density:
        raise InputError(f"{type(model).__name__} has no prior to sample from; train a VAE to draw new examples")
    condition = common.condition_of(arguments.condition, model)
    x = model.sample(arguments.n, condition=condition, random_state=arguments.random_state, mean=arguments.mean)
    common.write(arguments, "samples", {"x": x}, list(model.schema_.names), model)
