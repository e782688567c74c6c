"""`isthmus encode RUN DATA -o FILE`."""

from __future__ import annotations

import argparse

from isthmus.cli.common import examples_parser, read_examples, write_output
from isthmus.cli.parser import Parser
from isthmus.errors import InputError


def build_parser(argv: list[str]) -> Parser:
    return examples_parser("encode", ".npz, .npy, .csv or .parquet")


def run(args: argparse.Namespace) -> None:
    from isthmus.persistence.serialization import load_fitted

    model = load_fitted(args.run)
    examples = read_examples(args, model)
    if not model.capabilities.encodes:
        raise InputError(f"{model.name} has no codes, so it cannot encode data.")
    codes = model.encode(examples)
    arrays = {"z": codes} if examples.y is None else {"z": codes, "y": examples.y}
    names = [f"{model.name.lower()}{i}" for i in range(model.code_size)]
    write_output(args, "codes", arrays, names, model)
