"""`isthmus reconstruct RUN DATA -o FILE`."""

from __future__ import annotations

import argparse

from isthmus.cli.common import (
    DATA_FORMATS,
    check_output,
    condition_beside,
    examples_parser,
    named_ids,
    read_examples,
    write_output,
)
from isthmus.cli.parser import Parser
from isthmus.errors import InputError


def build_parser(argv: list[str]) -> Parser:
    return examples_parser("reconstruct", DATA_FORMATS)


def run(args: argparse.Namespace) -> None:
    from isthmus.persistence.serialization import load_fitted

    check_output(args, args.data)
    model = load_fitted(args.run)
    examples = read_examples(args, model)
    if not model.capabilities.encodes:
        raise InputError(f"{model.name} has no codes, so it cannot reconstruct data.")
    names = model.schema.names
    arrays = {"x": model.reconstruct(examples), **condition_beside(args, examples.y, len(examples), names)}
    write_output(args, "reconstructions", arrays, names, model, named_ids(args, examples))
