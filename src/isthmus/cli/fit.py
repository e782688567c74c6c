"""`isthmus fit MODEL DATA -o RUN`, `isthmus fit --continue RUN [DATA]` and `isthmus fit --resume RUN`."""

from __future__ import annotations

import argparse
import contextlib
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isthmus.atomic_io import file_errors, next_path
from isthmus.cli.common import add_column_options, read_like, read_training_data, roles_given
from isthmus.cli.config_file import as_text, settings_in, value_of
from isthmus.cli.flags import add_fields, fields_given, flag_of
from isthmus.cli.image_arguments import add_image_options, image_options
from isthmus.cli.parser import Parser, command_parser, emit, log, report
from isthmus.data.column_roles import NO_ROLES
from isthmus.data.dataset import Dataset
from isthmus.errors import InputError, Interrupted
from isthmus.model_registry import Model, find_model, models
from isthmus.persistence.run_lock import RunLock
from isthmus.wording import pluralize, quoted, shell_line

if TYPE_CHECKING:
    from isthmus.persistence.run_dir import Run

OPTIONS_WITHOUT_VALUE = ("--force", "--json", "--crop", "-q", "--quiet", "-v", "--verbose", "-h", "--help")
MAX_NAME_CHARACTERS = 60
"""Length of a run's name that is chosen for it, without its number."""
RESUME_HELP = "resume an interrupted run; it keeps its model, data and fields"
OF_RESUMING = ("resume", "json", "q", "quiet", "v", "verbose")
"""Arguments that a run is resumed with, by their names in a file."""
USAGE = (
    "isthmus fit MODEL DATA [-o RUN] [options]",
    "isthmus fit --continue RUN [DATA] [-o RUN] [options]",
    "isthmus fit --resume RUN",
)
"""The three ways to call it."""
CONTINUE_HELP = "train a finished run for further epochs, from its weights; options set other values of its fields"


def build_parser(argv: list[str]) -> Parser:
    if value_of("--resume", argv) is not None:  # it excludes the file, which is not read
        return build_resume_parser(argv, {})
    settings = settings_in(argv)
    if "resume" in settings or "--resume" in argv:
        return build_resume_parser(argv, settings)
    if "continue" in settings or any(arg.split("=")[0] == "--continue" for arg in argv):
        return build_continue_parser(argv, settings)
    model = model_in(argv)
    if model is None and "model" in settings:
        model = find_model(as_text(settings["model"], "model"))
    if model is None and any(arg.split("=")[0] in all_field_flags() for arg in argv):
        raise InputError(
            "MODEL must be given before the options of its fields: isthmus fit MODEL DATA -o RUN ...; "
            "`isthmus models` lists the models."
        )
    epilog = None if model else "`isthmus models` lists the models, `isthmus fit MODEL --help` the fields of a model"
    usage = "\n       ".join(USAGE).replace("MODEL", model.command if model else "MODEL", 1)
    parser = command_parser(f"fit {model.command}" if model else "fit", epilog=epilog, usage=usage)
    parser.add_argument("model", metavar="MODEL", help="a name that `isthmus models` lists")
    parser.add_argument("data", metavar="DATA", help="a built-in name (see `isthmus data`) or a path")
    add_run_options(parser, "the folder of the run (default: runs/MODEL-DATA-N)")
    parser.add_argument("--resume", metavar="RUN", help=RESUME_HELP)
    parser.add_argument("--continue", dest="earlier", metavar="RUN", help=CONTINUE_HELP)
    if model:
        add_fields(parser, model)
    return parser


def add_run_options(parser: Parser, output: str) -> None:
    """Add the options of a new run."""
    parser.add_argument("-o", "--output", metavar="RUN", help=output)
    parser.add_argument("--force", action="store_true", help="replace an existing run in this folder")
    add_column_options(parser)
    add_image_options(parser)


def build_continue_parser(argv: list[str], settings: dict[str, Any]) -> Parser:
    """The parser of `--continue RUN [DATA]`, whose options are the fields of the run's model."""
    from isthmus.persistence.serialization import read_config

    named = Parser(add_help=False)
    named.add_argument("--continue", dest="earlier")
    earlier = named.parse_known_args(argv)[0].earlier
    if earlier is None:
        earlier = as_text(settings["continue"], "continue")
    if "model" in settings:
        raise InputError(
            f"--continue must come without a model, got {quoted(settings['model'])} in {value_of('--config', argv)}: "
            "the run keeps its own. Leave out model."
        )

    class DataOfRun(argparse.Action):
        """DATA, which is no name of a model."""

        def __call__(self, parser: Any, namespace: argparse.Namespace, values: Any, option_string: Any = None) -> None:
            if values is not None and is_model(values) and not Path(values).exists():
                words = list(argv)
                if values in words:
                    words.remove(values)
                raise InputError(
                    f"--continue must come without MODEL, got {quoted(values)}: the run keeps its own. Use: "
                    f"{shell_line(['isthmus', 'fit', *words])}"
                )
            namespace.data = values

    parser = command_parser("fit --continue RUN", usage=USAGE[1])
    parser.add_argument("--continue", dest="earlier", metavar="RUN", help=CONTINUE_HELP)
    text = "rows of the same columns (default: the run's own)"
    parser.add_argument("data", metavar="DATA", nargs="?", action=DataOfRun, help=text)
    add_run_options(parser, "the folder of the new run (default: RUN with the next free number)")
    parser.set_defaults(resume=None)
    add_fields(parser, find_model(read_config(Path(earlier))["class"]))
    return parser


def build_resume_parser(argv: list[str], settings: dict[str, Any]) -> Parser:
    """The parser of `--resume RUN`, which excludes all other arguments."""
    parser = command_parser("fit", usage=USAGE[2])
    parser.add_argument("--resume", metavar="RUN", help=RESUME_HELP)
    args, rest = parser.parse_known_args(argv)
    others = [*rest, *(name for name in settings if name not in OF_RESUMING)]
    if args.resume is not None and args.config is not None:
        others.append("--config")
    if others:
        folder = as_text(settings["resume"], "resume") if args.resume is None else args.resume
        raise InputError(
            f"--resume takes no other arguments, got {others[0]!r}: a resumed run keeps its model, data and fields. "
            f"Use only: {resume_command(folder)}"
        )
    return parser


def model_in(argv: list[str]) -> Model | None:
    """The model among the arguments: the first one, or the first after options that is neither one nor its value."""
    is_value = False
    for i, arg in enumerate(argv):
        if arg.startswith("-"):
            is_value = "=" not in arg and arg not in OPTIONS_WITHOUT_VALUE
        elif is_value:
            is_value = False
        elif i == 0 or is_model(arg):
            return find_model(arg)
    return None


def is_model(name: str) -> bool:
    """Whether there is a model of this name."""
    try:
        find_model(name)
    except InputError:
        return False
    return True


def all_field_flags() -> set[str]:
    """The options of the fields of all models."""
    return {flag_of(name) for model in models().values() for name in model.fields}


def resume_command(folder: str | Path) -> str:
    """The command that resumes a run."""
    return shell_line(["isthmus", "fit", "--resume", str(folder)])


def run(args: argparse.Namespace) -> None:
    import torch

    torch.set_flush_denormal(True)  # must precede the first parallel operation to apply to all threads
    named = args.output if args.resume is None else args.resume
    with contextlib.ExitStack() as stack:
        lock = stack.enter_context(RunLock(Path(named))) if named else None
        train(args, stack, lock)


def train(args: argparse.Namespace, stack: contextlib.ExitStack, lock: RunLock | None) -> None:
    """Start a run or go on with one, and end with its summary.

    Args:
        args: of the command.
        stack: released once the command ends.
        lock: on the folder of the run; None if the folder is chosen for it.
    """
    from isthmus.persistence import run_dir
    from isthmus.report.summary import summarise
    from isthmus.train.progress import ProgressBar

    began = time.perf_counter()
    if args.resume is None and args.output:
        run_dir.check_folder(Path(args.output), args.force, args.data or "")  # before any work is done
    if args.resume is not None:
        folder = Path(args.resume)
        started = run_dir.resume(folder)
        if started is None:
            values = {"run": str(folder), "finished": True}
            emit(args, values, f"{folder} is already finished; there is nothing to resume")
            return
    elif args.earlier is not None:
        folder = Path(args.output or next_path(args.earlier.rstrip("/")))
        lock = lock or stack.enter_context(RunLock(folder))
        data = data_to_go_on(args)
        started = run_dir.go_on(Path(args.earlier), folder, fields_given(args), data=data, force=args.force, lock=lock)
        warn_of_old_rows(started, Path(args.earlier))
        if not args.output and not args.quiet:
            report(f"the run is in {folder}; -o FOLDER chooses another")
    else:
        estimator = run_dir.make(find_model(args.model), fields_given(args))
        if estimator.takes_labels and not (estimator.conditional or args.condition):
            raise InputError(
                f"--prior {estimator.prior} requires a condition. Train a conditionalvae, which is conditioned on the "
                "labels of the data, or pass --condition COLUMN."
            )
        log(args, f"reading {args.data}", detail=True)
        dataset = read_training_data(args)
        if args.output:
            folder = Path(args.output)
        else:
            folder = new_run_folder(f"{find_model(args.model).command}-{Path(args.data).resolve().name}")
            lock = stack.enter_context(RunLock(folder))
        log(args, f"choosing what is left to the data, of {len(dataset.train):,} rows", detail=True)
        try:
            started = run_dir.start(estimator, dataset, folder, force=args.force, lock=lock)
        except BaseException:
            if not args.output:
                with contextlib.suppress(OSError):  # it is not empty
                    folder.rmdir()
            raise
        if not args.output and not args.quiet:
            report(f"the run is in {folder}; -o FOLDER chooses another")
    stages = {"preparing": time.perf_counter() - began}
    try:
        began = time.perf_counter()
        if not started.trained:
            with contextlib.nullcontext() if args.quiet else ProgressBar() as show:
                run_dir.finish(started, show)
    except Interrupted as error:
        kept = f"{folder} still holds the model from before" if started.replaces else "it can be used as it is"
        raise Interrupted(f"{error}; {kept}; resume with: {resume_command(folder)}") from None
    stages["training"] = time.perf_counter() - began
    log(args, "evaluating on held-out rows")
    try:
        summary = summarise(started, stages)
    except KeyboardInterrupt:
        raise Interrupted(
            f"the model is saved, but not all of its figures are; draw them with: {resume_command(folder)}"
        ) from None
    emit(args, summary.values, summary.text, quiet=str(folder))


def data_to_go_on(args: argparse.Namespace) -> Dataset | None:
    """DATA of `--continue`, read as the run's own, or these read in another way; None for these as they were."""
    from isthmus.persistence.serialization import load_fitted, read_config

    read_as_before = roles_given(args) == NO_ROLES and image_options(args).remembered
    if args.data is None:
        args.data = (read_config(Path(args.earlier)).get("source") or {}).get("data")
        if args.data is None or read_as_before:
            return None
    return read_like(args, args.earlier, load_fitted(args.earlier).schema)


def warn_of_old_rows(started: Run, earlier: Path) -> None:
    """Warn of validation rows that a trained model was trained on: by them its weights look better than they are.

    Args:
        started: the run that goes on.
        earlier: the run of the trained model; the rows of those that it goes on from itself are looked at too.
    """
    from isthmus.evaluation.row_keys import RowKeys
    from isthmus.persistence.run_dir import reopen
    from isthmus.persistence.serialization import read_config

    job = started.job
    valid, old = job.valid_rows, 0
    split = (job.fingerprint, job.config.seed, started.estimator.validation_fraction)
    seen: set[Path] = set()
    with contextlib.suppress(InputError):  # the data of an earlier run may be there no more
        while valid is not None and earlier.resolve() not in seen:
            seen.add(earlier.resolve())
            config = read_config(earlier)
            if (config.get("fingerprint"), config["seed"], config["fields"].get("validation_fraction")) != split:
                old = max(old, RowKeys(valid, reopen(earlier).job.train_rows).copies)
            earlier = Path((config.get("source") or {}).get("continues") or earlier)
    if valid is not None and old:
        report(
            f"warning: {old:,} of {pluralize(len(valid), 'validation row')} equal earlier training rows, which favours "
            "the weights from before. Pass rows that are new, or leave out DATA and --random-state."
        )


def new_run_folder(name: str) -> Path:
    """`runs/NAME-N` with the next number that is free, made at once so that no other run takes it.

    Args:
        name: of the model and of the data, of which a file's suffix and what a shell would not take as it is are left.
    """
    name, runs = re.sub(r"[^\w-]+", "_", name.split(".")[0])[:MAX_NAME_CHARACTERS], Path("runs")
    with file_errors(runs):
        runs.mkdir(exist_ok=True)
        taken = [re.fullmatch(re.escape(name) + r"-(\d+)", path.name) for path in runs.iterdir()]
        number = 1 + max((int(match[1]) for match in taken if match), default=0)
        while True:
            try:
                (runs / f"{name}-{number}").mkdir()
            except FileExistsError:
                number += 1
            else:
                return runs / f"{name}-{number}"
