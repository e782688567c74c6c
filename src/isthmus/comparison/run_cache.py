"""The folder of a comparison: every finished run is a file, so that what was broken off goes on."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

from torch import nn

from isthmus.atomic_io import TMP_PREFIX, read_json, write_json
from isthmus.comparison.specs import Entry
from isthmus.errors import InputError
from isthmus.persistence.serialization import plain
from isthmus.train.checkpoint import Checkpointer

FORMAT = 1
MANIFEST, TABLE, CURVE, RUNS, UNFINISHED = "compare.json", "table.json", "curve.png", "runs", "unfinished"


def opened(folder: Path, facts: dict[str, Any], *, force: bool) -> None:
    """Make the folder of a comparison with these facts, or go on with it; with `force` begin anew.

    Raises InputError for a folder that holds something else, or a comparison of other data or settings.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; the name of a folder is wanted")
    facts = json.loads(json.dumps({"format": FORMAT, **facts}))  # as they will be read again
    there = [path for path in folder.iterdir() if not path.name.startswith(TMP_PREFIX)] if folder.exists() else []
    if there:
        known = read_json(folder / MANIFEST) if (folder / MANIFEST).exists() else None
        if not isinstance(known, dict) or "rows" not in known:
            raise InputError(f"{folder} holds other files and no comparison; give the comparison a folder of its own")
        other = [name.replace("_", " ") for name in facts if known.get(name) != facts[name]]
        if other and not force:
            raise InputError(
                f"{folder} holds a comparison with other {' and '.join(other)}; --force (force=True) replaces it, or "
                "choose another folder with -o"
            )
    if force:
        clear(folder)
    write_json(folder / MANIFEST, facts)


def clear(folder: Path) -> None:
    """Take away what a comparison wrote, and nothing else."""
    for name in (MANIFEST, TABLE, CURVE):
        (folder / name).unlink(missing_ok=True)
    for path in (folder / RUNS).glob("*.json"):
        path.unlink()
    shutil.rmtree(folder / UNFINISHED, ignore_errors=True)


def file_of(folder: Path, entry: Entry, seed: int) -> Path:
    """The file of a run: model, value and seed to be read, and a hash of all its fields."""
    fields = entry.estimator.get_params(deep=False)
    if any(isinstance(value, nn.Module) for value in fields.values()):
        raise InputError(f"{entry.label} holds modules of your own, by which no run can be known; leave out the folder")
    told = json.dumps([type(entry.estimator).__name__, plain(fields), plain(entry.value), seed], sort_keys=True)
    digest = hashlib.blake2b(told.encode(), digest_size=4).hexdigest()
    value = "" if entry.value is None else f"-{entry.value}"
    words = re.sub(r"[^\w.=-]+", "-", f"{entry.label}{value}").strip("-")[:80]
    return folder / RUNS / f"{words}-seed{seed}-{digest}.json"


def read_run(file: Path) -> dict[str, Any] | None:
    """A finished run, if it is there."""
    return read_json(file) if file.exists() else None


def write_run(file: Path, record: dict[str, Any]) -> None:
    """Keep a finished run; its checkpoint is of no more use."""
    write_json(file, record)
    shutil.rmtree(file.parent.parent / UNFINISHED, ignore_errors=True)


def keep_of(file: Path) -> Checkpointer:
    """Where a run lies while it trains."""
    return Checkpointer(file.parent.parent / UNFINISHED / file.stem)
