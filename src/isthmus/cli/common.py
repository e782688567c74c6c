"""What the commands that use a trained model share."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isthmus.cli.image_arguments import add_image_options, check_images, image_options
from isthmus.cli.parser import Parser, command_parser, emit, log
from isthmus.data.column_roles import NO_ROLES, ColumnRoles
from isthmus.data.dataset import Dataset
from isthmus.data.image_options import ImageOptions
from isthmus.errors import InputError
from isthmus.examples import PARTS, Examples
from isthmus.wording import one_line

if TYPE_CHECKING:
    import numpy as np

    from isthmus.evaluation.result import Evaluation
    from isthmus.fitted import FittedModel
    from isthmus.schema import Schema

DATA_FORMATS = ".npz, .npy, .csv, .parquet, .png, or FOLDER/ for a PNG file of each example"
"""Help of a file that examples are written to."""


def examples_parser(name: str, formats: str) -> Parser:
    """The parser of a command with the arguments RUN DATA -o FILE; `formats` is the help of the file."""
    parser = command_parser(name)
    parser.add_argument("run", metavar="RUN", help="the folder of a trained model")
    parser.add_argument("data", metavar="DATA", help="a built-in name (see `isthmus data`) or a path")
    add_output_options(parser, formats)
    add_column_options(parser, of_run=True)
    add_part_option(parser)
    add_image_options(parser)
    return parser


def evaluation_parser(name: str) -> Parser:
    """The parser of a command with the arguments RUN [DATA] that evaluates a model."""
    parser = command_parser(name)
    parser.add_argument("run", metavar="RUN", help="the folder of a trained model")
    parser.add_argument(
        "data",
        metavar="DATA",
        nargs="?",
        help="data to evaluate on (default: the run's test rows, else validation rows)",
    )
    add_column_options(parser, of_run=True)
    add_part_option(parser)
    add_image_options(parser)
    parser.add_argument(
        "--draws", type=int, default=1000, metavar="K", help="samples per row for log p(x) (default: 1000)"
    )
    parser.add_argument(
        "--ais",
        type=int,
        nargs="?",
        const=100,
        default=0,
        metavar="ROWS",
        help="estimate log p(x) by annealed importance sampling too, on so many rows (100 if no number is given), and "
        "bound it from both sides on simulated ones; takes minutes",
    )
    return parser


def add_column_options(parser: Parser, of_run: bool = False, weight: bool = True) -> None:
    """Add --condition, --id, --weight if rows may have one, --drop and --use; `of_run`: by default those of the run."""
    default = " (default: as in training)" if of_run else ""
    parser.add_argument(
        "--condition", metavar="COLUMN", help=f"the column of a table that holds labels, not data{default}"
    )
    parser.add_argument("--id", metavar="COLUMN", help=f"the column of a table that names the rows{default}")
    if weight:
        text = "the column of a table that says how much each row counts in training and evaluation"
        parser.add_argument("--weight", metavar="COLUMN", help=f"{text}{default}")
    for option, text in (
        ("--drop", "columns of a table to leave out"),
        ("--use", "the only columns of a table to use"),
    ):
        parser.add_argument(option, metavar="COLUMN", nargs="+", action="extend", default=[], help=f"{text}{default}")


def roles_given(args: argparse.Namespace) -> ColumnRoles:
    """The roles of columns that the options of `add_column_options` say."""
    weight = getattr(args, "weight", None)
    return ColumnRoles(args.condition, args.id, tuple(args.drop), tuple(args.use), weight=weight)


def run_roles(run: str) -> ColumnRoles:
    """The roles of columns in the data that a run was trained on."""
    from isthmus.persistence.serialization import read_config

    return ColumnRoles.of_run(read_config(Path(run)).get("source"))


def add_output_options(parser: Parser, formats: str, required: bool = True) -> None:
    """Add -o FILE and --force."""
    parser.add_argument("-o", "--output", metavar="FILE", required=required, help=formats)
    parser.add_argument("--force", action="store_true", help="replace FILE if it exists; never what is read")


def add_part_option(parser: Parser) -> None:
    """Add --part."""
    parser.add_argument("--part", default="all", choices=("all", *PARTS), help="which rows of DATA (default: all)")


def read_examples(args: argparse.Namespace, model: FittedModel, weighted: bool = False) -> Examples:
    """The rows of DATA that were asked for; of a conditional model, their labels are the condition."""
    return read_like(args, args.run, model.schema, weighted).select(args.part)


def read_like(args: argparse.Namespace, run: str, schema: Schema, weighted: bool = True) -> Dataset:
    """DATA as a run read its own, with the weights of its rows if they are needed.

    Columns have the roles that they had in training where no others are given, and images are read as they were there.
    """
    from isthmus.data.sources import read_columns
    from isthmus.persistence.serialization import read_config

    source = read_config(Path(run)).get("source")
    roles = replace(roles_given(args), weighted=weighted).beside(ColumnRoles.of_run(source))
    data = read_columns(args.data, roles, image_options(args, source, schema))
    if data.images is not None:
        check_images(data.train.x, data.images, schema, one_line(args.data))
    return data


def named_ids(args: argparse.Namespace, examples: Examples) -> tuple[str, np.ndarray] | None:
    """The ids of rows that `read_examples` returned, with the name of their column; None if they have none."""
    import numpy as np

    if examples.ids is None:
        return None
    return args.id or run_roles(args.run).id or "id", np.asarray(examples.ids)


RESERVED = ("x", "z", "draw", "row", "lengths")
"""Names of what labels are written beside."""


def labels_beside(args: argparse.Namespace, labels: Any, column: str | None, names: Sequence[str]) -> dict[str, Any]:
    """Labels of rows that are written: in a table under the name of their column, by which the run finds them again.

    Args:
        args: of the command.
        labels: (n,) labels or numbers; None if there are none.
        column: their column in the data of the run; None if these are no table.
        names: of the columns that are written beside them.
    """
    if labels is None:
        return {}
    is_table = Path(args.output).suffix.lower() not in (".npz", ".npy")
    taken = column is None or column in names or column in RESERVED
    return {column if is_table and column is not None and not taken else "y": labels}


def condition_beside(args: argparse.Namespace, condition: Any, n: int, names: Sequence[str]) -> dict[str, Any]:
    """`labels_beside` of n examples of a run, where it can read them: as the column that it knows, or in an .npz.

    Args:
        args: of the command.
        condition: (n,) labels or numbers, or one for all examples; None if there is none.
        n: number of examples.
        names: of their columns.
    """
    import numpy as np

    column = run_roles(args.run).condition
    if condition is None or (column is None and Path(args.output).suffix.lower() != ".npz"):
        return {}
    values = np.asarray(condition)
    values = np.broadcast_to(values, n) if values.size == 1 else values
    return labels_beside(args, values, column, names) if values.shape == (n,) else {}


def read_training_data(args: argparse.Namespace) -> Dataset:
    """DATA to train on.

    Raises:
        InputError: as `read`, and for a single image.
    """
    from isthmus.data.sources import read_columns

    data = read_columns(args.data, roles_given(args), image_options(args))
    if data.images is not None and len(data.train) == 1:
        raise InputError(f"training needs more than one image, got only one in {one_line(args.data)}. Pass a folder.")
    return data


@dataclass(frozen=True)
class LoadedRun:
    """A trained model and the rows that it is evaluated on.

    Args:
        model: the trained model.
        examples: the rows to evaluate it on.
        description: how many rows they are, and where they come from.
        train: the rows that it was trained on, if they are available.
        notes: lines that explain what is missing, for example why there are no baselines.
        data: built-in name or path of the data that it was trained on.
        roles: of the columns of these data.
        options: further options of `isthmus fit` that say how these data are read.
        training_failure: why training failed; empty if it did not.
    """

    model: FittedModel
    examples: Examples
    description: str
    train: Examples | None = None
    notes: tuple[str, ...] = ()
    data: str = ""
    roles: ColumnRoles = NO_ROLES
    options: tuple[str, ...] = ()
    training_failure: str = ""


def load_run(args: argparse.Namespace) -> LoadedRun:
    """The run that was asked for, with the rows of DATA or else its own held-out rows."""
    from isthmus.evaluation.splits import held_out
    from isthmus.persistence import run_dir
    from isthmus.persistence.serialization import load_fitted, read_config

    folder, opened = Path(args.run), None
    notes: tuple[str, ...] = ()
    config = read_config(folder)
    try:
        opened = run_dir.reopen(folder)
        model = opened.fitted
    except InputError as error:
        model, notes = load_fitted(folder), (f"no baselines: {error}",)  # raises if it is not the data that fail
        if args.data is None:
            reason = one_line(str(error), 200)
            ended = reason if reason.endswith((".", "?")) else f"{reason}."
            raise InputError(f"{ended} Pass other DATA after {args.run}.") from None
    if args.data is None:
        assert opened is not None
        test = held_out(opened)
        examples, description = test.examples, test.description
    else:
        examples = read_examples(args, model, weighted=True).without_zero_weight()
        description = f"{len(examples):,} rows of {args.data}"
    failure = one_line(config.get("broken") or "", 300)
    loaded = LoadedRun(model, model.check(examples), description, notes=notes, training_failure=failure)
    if opened is None:
        return loaded
    source = opened.source
    options = tuple(ImageOptions.of_run(source).options())
    roles = ColumnRoles.of_run(source)
    return replace(loaded, train=opened.job.train_rows, data=source["data"], roles=roles, options=options)


def run_evaluation(loaded: LoadedRun, args: argparse.Namespace) -> Evaluation:
    """Evaluate a model as the arguments of `evaluation_parser` say."""
    from isthmus.evaluation.evaluate import evaluate

    log(args, f"evaluating on {loaded.description}")
    return evaluate(loaded.model, loaded.examples, train=loaded.train, draws=args.draws, ais=args.ais)


def check_output(args: argparse.Namespace, *inputs: str) -> None:
    """Raise InputError, before any work is done, if the output file may not be written; `inputs` are read."""
    from isthmus.export import check_output

    check_output(Path(args.output), inputs, args.force)


def load_to_write(args: argparse.Namespace, *inputs: str, of_data: bool = True) -> FittedModel:
    """The model of RUN, once it is known that the output file can be written and is of a format that fits.

    Args:
        args: of the command.
        inputs: files that are read.
        of_data: whether examples are written, which may be images; codes are none.
    """
    from isthmus.export import PNG, check_drawable, check_suffix
    from isthmus.persistence.serialization import load_fitted

    path = Path(args.output)
    is_folder = of_data and (args.output.endswith("/") or path.is_dir())
    if not is_folder:
        check_suffix(path, of_data)
    check_output(args, *inputs)
    model = load_fitted(args.run)
    if is_folder or path.suffix.lower() == PNG:
        check_drawable(model.schema)
    return model


def lengths_beside(args: argparse.Namespace, model: FittedModel, n: int, lengths: Any = None) -> dict[str, Any]:
    """The steps of n sequences, which an .npz has beside them: all where no `lengths` are given."""
    if not model.schema.sequence or Path(args.output).suffix.lower() != ".npz":
        return {}
    import numpy as np

    return {"lengths": np.full(n, model.schema.event_shape[0]) if lengths is None else np.asarray(lengths)}


def write_output(
    args: argparse.Namespace,
    what: str,
    arrays: dict[str, np.ndarray],
    names: Sequence[str],
    model: FittedModel,
    ids: tuple[str, np.ndarray] | None = None,
    rows: int | None = None,
) -> None:
    """Write the output file, or a PNG file for each example into a folder, and report it.

    Args:
        args: of the command.
        what: how the text calls the first array.
        arrays, names, ids: as in `write_arrays`.
        model: the model that made them.
        rows: of the data; None for the length of the first array.
    """
    from isthmus.export import write_arrays, write_pngs

    check_output(args)  # it may have been made since
    path, main = Path(args.output), next(iter(arrays.values()))
    shape = " x ".join(map(str, main.shape))
    values = {"file": str(path), "rows": len(main) if rows is None else rows, "shape": list(main.shape)}
    if (args.output.endswith("/") or path.is_dir()) and main.shape[1:] == model.schema.event_shape:
        write_pngs(path, main, model.schema, None if ids is None else list(map(str, ids[1])))
        emit(args, values, f"wrote {shape} {what} to {path}, a PNG file each", quiet="")
    else:
        write_arrays(path, arrays, names, model.schema, ids)
        emit(args, values, f"wrote {shape} {what} to {path}", quiet="")


def parse_condition(text: str | None, model: FittedModel) -> Any:
    """A condition given as text: one of the model's labels, or numbers separated by commas."""
    if text is None:
        return None
    condition = model.schema.condition
    if condition is None:
        raise InputError("this model was trained without a condition. Leave out --condition.")
    if condition.classes:
        by_text = {str(label): label for label in condition.classes}
        if text not in by_text:
            raise InputError(f"--condition must be one of {', '.join(by_text)}, got {text!r}.")
        return by_text[text]
    import numpy as np

    try:
        return np.asarray([[float(piece) for piece in text.split(",")]])
    except ValueError:
        raise InputError(f"--condition must be numbers separated by commas, got {text!r}.") from None
