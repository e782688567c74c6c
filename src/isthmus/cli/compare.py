"""`isthmus compare DATA --models pca,ae,vae`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from isthmus.cli.common import add_column_options, read_training_data
from isthmus.cli.image_arguments import add_image_options
from isthmus.cli.parser import Parser, command_parser, emit, log
from isthmus.errors import Interrupted
from isthmus.wording import shell_line

FIELDS = {
    "latent_dim": ("N", "size of the code"),
    "epochs": ("N", "passes over the rows, at most"),
    "batch_size": ("N", "rows per update"),
}
"""Fields with a separate option: metavar and help. `--set` takes all fields."""
FORMATS: dict[str, Callable[[Any], str]] = {
    "text": str,
    "csv": lambda table: table.to_frame().to_csv(index=False).rstrip(),
    "latex": lambda table: table.to_latex(),
    "markdown": lambda table: table.to_markdown(),
}
"""Forms of the table."""


def build_parser(argv: list[str]) -> Parser:
    parser = command_parser(
        "compare",
        epilog="`isthmus models` lists the models, `isthmus fit MODEL --help` the fields of a model",
    )
    parser.add_argument("data", metavar="DATA", help="a built-in name (see `isthmus data`) or a path")
    parser.add_argument(
        "--models",
        default="pca,ae,vae",
        metavar="NAME,NAME",
        help="models, optionally with fields: 'vae(beta=4),ae'; PCA is always included (default: pca,ae,vae)",
    )
    parser.add_argument("--seeds", type=int, default=5, metavar="N", help="runs of each model (default: 5)")
    parser.add_argument(
        "--sweep", metavar="FIELD=V,V", help="train every model once per value, e.g. latent_dim=2,4,8,16"
    )
    for name, (metavar, text) in FIELDS.items():
        option = "--" + name.replace("_", "-")
        parser.add_argument(option, dest=name, metavar=metavar, help=f"{text}; set for all models")
    parser.add_argument(
        "--set", action="append", default=[], metavar="FIELD=VALUE", help="set any field for all models that have it"
    )
    parser.add_argument(
        "--draws", type=int, default=1000, metavar="K", help="samples per row for log p(x) (default: 1000)"
    )
    add_column_options(parser, weight=False)  # which ranks models by the mean of all rows alike
    add_image_options(parser)
    parser.add_argument(
        "-o",
        "--output",
        metavar="FOLDER",
        help="folder for the results, from which an interrupted comparison continues (default: runs/compare-DATA)",
    )
    parser.add_argument(
        "--format",
        choices=list(FORMATS),
        default="text",
        help="form of the table: text, or csv, latex or markdown for a paper (default: text)",
    )
    parser.add_argument("--force", action="store_true", help="replace another comparison in this folder")
    parser.set_defaults(argv=argv)
    return parser


def run(args: argparse.Namespace) -> None:
    import torch

    torch.set_flush_denormal(True)  # must precede the first parallel operation to apply to all threads
    from isthmus.comparison.compare import compare
    from isthmus.comparison.run_cache import read_manifest
    from isthmus.comparison.specs import read_field, read_sweep

    options = {name: getattr(args, name) for name in FIELDS}
    assignments = [f"{name}={value}" for name, value in options.items() if value is not None]
    fields = dict(read_field(text) for text in [*assignments, *args.set])
    sweep = dict([read_sweep(args.sweep)]) if args.sweep is not None else None
    folder = Path(args.output or Path("runs") / f"compare-{Path(args.data).stem}")
    read_manifest(folder)  # raises for a folder of other files, before any work is done
    data = read_training_data(args)
    try:
        table = compare(
            data,
            models=args.models,
            seeds=args.seeds,
            sweep=sweep,
            draws=args.draws,
            folder=folder,
            force=args.force,
            verbose=not args.quiet,
            **fields,
        )
    except Interrupted as error:
        command = shell_line(arg for arg in args.argv if arg != "--force")
        raise Interrupted(f"{error}; continue with: isthmus compare {command}") from None
    figure = f", with a figure of the sweep in {table.figure}" if table.figure else ""
    saved = f"saved in {folder}{figure}"
    if args.format != "text":  # the table alone, to be written to a file
        log(args, saved)
    text = f"{table}\n{saved}" if args.format == "text" else FORMATS[args.format](table)
    emit(args, {**table.to_dict(), "folder": str(folder)}, text)
