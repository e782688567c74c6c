"""The folder of a comparison: each finished run is a file, so that an interrupted comparison can continue."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

from torch import nn

from isthmus.atomic_io import TMP_PREFIX, read_json, write_json
from isthmus.comparison.results import RunResult
from isthmus.comparison.specs import Entry
from isthmus.errors import InputError
from isthmus.persistence.serialization import to_jsonable
from isthmus.train.checkpoint import Checkpointer

FORMAT = 2
"""Format of the files; a folder of another format is not continued."""
MANIFEST, TABLE, FIGURE, RUNS, UNFINISHED = "compare.json", "table.json", "curve.png", "runs", "unfinished"
RUN_NAME = r"-seed\d+-[0-9a-f]{8}\.json$"
"""How the name of a run's file ends."""
MAX_NAME_CHARACTERS = 80
"""Characters of the name of a run's file, at most."""


def open_folder(folder: Path, settings: dict[str, Any], *, force: bool) -> None:
    """Create the folder of a comparison, or check that it belongs to the same one.

    Args:
        folder: the folder.
        settings: what must be the same for a comparison to be continued.
        force: replace a comparison with other settings.

    Raises:
        InputError: if the folder holds other files, or a comparison with other settings.
    """
    settings = json.loads(json.dumps({"format": FORMAT, **settings}))  # tuples become lists, as in the file
    manifest = read_manifest(folder)
    if manifest is not None:
        changed = [name.replace("_", " ") for name in settings if manifest.get(name) != settings[name]]
        if changed and not force:
            raise InputError(
                f"{folder} holds a comparison with other {' and '.join(changed)}. Pass --force (force=True) to replace "
                "it, or another folder with -o (folder=)."
            )
    if force:
        clear(folder)
    write_json(folder / MANIFEST, settings)


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The settings of the comparison in a folder, None if it is new or empty; InputError if it holds other files."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"the output must be a folder, but {folder} is a file.")
    if not folder.exists() or all(path.name.startswith(TMP_PREFIX) for path in folder.iterdir()):
        return None
    manifest = read_json(folder / MANIFEST) if (folder / MANIFEST).exists() else None
    if not isinstance(manifest, dict) or "rows" not in manifest:
        raise InputError(f"{folder} holds files that do not belong to a comparison. Use another folder.")
    return manifest


def clear(folder: Path) -> None:
    """Delete the files of a comparison, and no others."""
    for name in (MANIFEST, TABLE, FIGURE):
        (folder / name).unlink(missing_ok=True)
    for path in (folder / RUNS).glob("*.json"):
        if re.search(RUN_NAME, path.name):
            path.unlink()
    shutil.rmtree(folder / UNFINISHED, ignore_errors=True)


def run_file(folder: Path, entry: Entry, seed: int) -> Path:
    """The file of a run, named by the model, the value of the sweep, the seed and a hash of all fields."""
    fields = entry.estimator.get_params(deep=False)
    if any(isinstance(value, nn.Module) for value in fields.values()):
        raise InputError(
            f"{entry.label} has user-defined modules, by which its runs cannot be recognised. Leave out folder=."
        )
    identity = [type(entry.estimator).__name__, to_jsonable(fields), to_jsonable(entry.value), seed]
    identity += ["dequantized"] if entry.dequantized else []
    digest = hashlib.blake2b(json.dumps(identity, sort_keys=True).encode(), digest_size=4).hexdigest()
    value = "" if entry.value is None else f"-{entry.value}"
    name = re.sub(r"[^\w.=-]+", "-", f"{entry.label}{value}").strip("-")[:MAX_NAME_CHARACTERS]
    return folder / RUNS / f"{name}-seed{seed}-{digest}.json"


def read_run(file: Path) -> RunResult | None:
    """A finished run; None if there is none yet."""
    return RunResult.from_dict(read_json(file)) if file.exists() else None


def write_run(file: Path, result: RunResult) -> None:
    """Save a finished run and delete its checkpoint."""
    write_json(file, to_jsonable(result.to_dict()))
    shutil.rmtree(file.parent.parent / UNFINISHED, ignore_errors=True)


def checkpointer(file: Path) -> Checkpointer:
    """Where a run is saved while it trains."""
    return Checkpointer(file.parent.parent / UNFINISHED / file.stem)
