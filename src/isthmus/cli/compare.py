"""`isthmus compare DATA --models pca,ae,vae`."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from isthmus.cli.main import Parser, command_parser, tell
from isthmus.errors import Interrupted

FIELDS = {
    "latent_dim": ("N", "numbers in a code"),
    "epochs": ("N", "passes over the rows"),
    "batch_size": ("N", "rows an update"),
}
"""Fields with a flag of their own; `--set` takes them all."""


def parser(words: list[str]) -> Parser:
    made = command_parser(
        "compare", epilog="`isthmus models` lists the models, `isthmus fit MODEL --help` their fields"
    )
    made.add_argument("data", metavar="DATA", help="a built-in name (`isthmus data`) or a path")
    made.add_argument(
        "--models",
        default="pca,ae,vae",
        metavar="NAME,NAME",
        help="names, with fields of their own if you like: 'vae(beta=4),ae'; PCA is always among them "
        "(default: pca,ae,vae)",
    )
    made.add_argument("--seeds", type=int, default=5, metavar="N", help="runs of each model (default 5)")
    made.add_argument("--sweep", metavar="FIELD=V,V", help="every model once a value, e.g. latent_dim=2,4,8,16")
    for name, (metavar, what) in FIELDS.items():
        flag = "--" + name.replace("_", "-")
        made.add_argument(flag, dest=name, metavar=metavar, help=f"{what}, of all models")
    made.add_argument(
        "--set", action="append", default=[], metavar="FIELD=VALUE", help="any other field, for all models that have it"
    )
    made.add_argument("--draws", type=int, default=1000, metavar="K", help="draws a row for log p(x) (default 1000)")
    made.add_argument(
        "--condition", metavar="COLUMN", help="the column of a table with labels, for probes and conditional models"
    )
    made.add_argument("-o", "--output", metavar="FOLDER", help="where runs are kept (default: runs/compare-DATA)")
    made.add_argument("--force", action="store_true", help="begin anew in a folder that holds another comparison")
    made.set_defaults(words=words)
    return made


def run(arguments: argparse.Namespace) -> None:
    import torch

    torch.set_flush_denormal(True)  # before the first parallel operation: then it holds on every thread
    from isthmus.comparison.compare import compare
    from isthmus.comparison.specs import read_field, read_sweep
    from isthmus.data import read

    given = {name: getattr(arguments, name) for name in FIELDS}
    texts = [f"{name}={value}" for name, value in given.items() if value is not None]
    fields = dict(read_field(text) for text in [*texts, *arguments.set])
    sweep = dict([read_sweep(arguments.sweep)]) if arguments.sweep is not None else None
    folder = Path(arguments.output or Path("runs") / f"compare-{Path(arguments.data).stem}")
    data = read(arguments.data, condition=arguments.condition)
    try:
        table = compare(
            data,
            models=arguments.models,
            seeds=arguments.seeds,
            sweep=sweep,
            draws=arguments.draws,
            folder=folder,
            force=arguments.force,
            verbose=True,
            **fields,
        )
    except Interrupted as stopped:
        again = shlex.join(word for word in arguments.words if word != "--force")
        raise Interrupted(f"{stopped}; go on with: isthmus compare {again}") from None
    picture = f"; the curves: {table.facts['curve']}" if sweep else ""
    tell(arguments, {**table.to_dict(), "folder": str(folder)}, f"{table}\nkept in {folder}{picture}")
