"""The files of a run: which are isthmus's, which of them are kept, and the folder where a replacement is trained."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

from isthmus.atomic_io import MAX_JSON_BYTES, TMP_PREFIX, atomic_write, os_reason, read_json
from isthmus.errors import InputError
from isthmus.train.tensor_file import Header, read_header
from isthmus.wording import join_names, quoted

CONFIG, WEIGHTS, HISTORY, CHECKPOINT = "config.json", "model.safetensors", "history.jsonl", "checkpoint"
PICTURES = ("reconstructions.png", "samples.png", "latent.png", "curves.png")
"""Figures that a run keeps as files: each is an entry of `plot.figures.FIGURES`, with .png added."""
CHECKPOINT_FILE = f"{CHECKPOINT}/state.safetensors"
START_FILE = f"{CHECKPOINT}/start.safetensors"
"""The trained weights that a run goes on from, until it is finished."""
RUN_FILES = (HISTORY, CHECKPOINT_FILE, START_FILE, "report.html", *PICTURES)
"""Files of a run besides its configuration and its weights."""
REPLACEMENT = "replacement"
"""Folder within a run where its replacement is trained, so that the run can be used until that one is complete."""
JSON_BYTES_PER_WEIGHT_BYTE = 8
"""A configuration may be large where weights are: means and scales of many columns."""


def read_stored(folder: Path) -> Any:
    """The value in config.json, whatever it is; raises InputError if it cannot be read, or is too large to be."""
    return read_json(folder / CONFIG, MAX_JSON_BYTES + JSON_BYTES_PER_WEIGHT_BYTE * stored_nbytes(folder / WEIGHTS))


def stored_nbytes(path: Path) -> int:
    """Bytes of a file that are on the disk, 0 if there is none: those of holes are not."""
    with contextlib.suppress(OSError):
        info = path.lstat()
        return min(info.st_size, getattr(info, "st_blocks", info.st_size) * 512)  # Windows does not count blocks
    return 0


def is_run(folder: Path) -> bool:
    """Whether a folder holds a configuration of isthmus, of whatever version."""
    try:
        return is_config(read_stored(folder))
    except InputError:
        return False


def is_config(config: Any) -> bool:
    """Whether a value is a configuration of isthmus, of whatever version."""
    types = {"class": str, "fields": dict, "schema": dict}
    known = isinstance(config, dict) and all(isinstance(config.get(name), kind) for name, kind in types.items())
    known = known and "format" in config
    return known and isinstance(config.get("settings", {}), dict) and isinstance(config.get("source", {}), dict | None)


def config_hash(config: dict[str, Any]) -> str:
    """A hash of the configuration, stored with the weights, by which a mismatch of the two files is found."""
    text = json.dumps([config["class"], config["fields"], config["schema"]], sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def has_weights(folder: Path) -> bool:
    """Whether a folder holds weights of isthmus: what saving that was interrupted leaves."""
    header = weights_header(folder)
    return header is not None and "config_hash" in header.values


def weights_header(folder: Path) -> Header | None:
    """What the weights in a folder say of themselves; None if there are none that can be read."""
    try:
        return read_header(folder / WEIGHTS)
    except InputError:
        return None


def stale_tmp_files(folder: Path) -> list[Path]:
    """Temporary files of isthmus in a folder, left by writing that was interrupted."""
    suffixes = {Path(name).suffix for name in (CONFIG, WEIGHTS, *RUN_FILES)}
    return [path for path in folder.glob(f"{TMP_PREFIX}*") if path.suffix in suffixes]


def clear(folder: Path, names: tuple[str, ...]) -> None:
    """Remove these files of a run and its temporary files, and nothing else."""
    check_no_link(folder / CHECKPOINT)
    stale = [*stale_tmp_files(folder), *stale_tmp_files(folder / CHECKPOINT)]
    try:
        for path in [*(folder / name for name in names), *stale]:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"Cannot replace {folder}: {os_reason(error)}.") from None
    with contextlib.suppress(OSError):  # it does not exist, or holds files of the user's
        (folder / CHECKPOINT).rmdir()


def check_no_link(folder: Path) -> None:
    """Raise InputError for a link in the place of a folder within a run: what it leads to is not the run's."""
    if folder.is_symlink():
        raise InputError(f"{folder} must be a folder, got a link. Remove it.")


def check_own_files(folder: Path) -> None:
    """Raise InputError if saving to a folder would replace files that are not of isthmus."""
    if os.path.lexists(folder / CONFIG) and not is_run(folder):
        raise InputError(f"{folder / CONFIG} is not of isthmus and would be lost. Save to another folder.")
    lost = [name for name in (WEIGHTS, *RUN_FILES) if os.path.lexists(folder / name)]
    if lost and not is_run(folder) and not has_weights(folder):
        raise InputError(
            f"{folder} holds files that are not of isthmus and would be lost: {join_names(lost)}. Save to another "
            "folder."
        )


def check_replaceable(folder: Path, config: dict[str, Any]) -> None:
    """Raise InputError if saving to a folder would lose a run of `isthmus fit`, or a model of another kind.

    A model of the same class and columns is replaced, however it was trained: a script that fits and saves can be run
    again.

    Args:
        folder: of whose files `check_own_files` knows that they are isthmus's.
        config: the configuration of the model that is to be saved.
    """
    action = "Save to another folder, or pass force=True to replace it."
    stored = read_stored(folder) if is_run(folder) else {}
    if stored.get("source") or is_run(folder / REPLACEMENT):
        raise InputError(f"{folder} holds a run of `isthmus fit`, which would be lost. {action}")
    header = weights_header(folder)
    # Weights that do not belong to the configuration are what saving that was interrupted leaves: they are no model.
    if stored and header is not None and header.values.get("config_hash") == config_hash(stored):
        name = stored["class"]
        if name != config["class"]:
            raise InputError(f"{folder} holds another model ({quoted(name)}), which would be lost. {action}")
        if columns_of(stored) != columns_of(config):
            raise InputError(f"{folder} holds a {name} of other columns, which would be lost. {action}")
    lost = [name for name in RUN_FILES if name != HISTORY and os.path.lexists(folder / name)]
    if lost:
        raise InputError(
            f"{folder} holds files that would be lost: {join_names(lost)}. Save to another folder, or pass force=True "
            "to remove them."
        )


def columns_of(config: dict[str, Any]) -> list[Any]:
    """The shape and the names of the rows that a configuration, perhaps a damaged one, was trained on."""
    stored = (config["schema"].get(name) for name in ("event_shape", "names"))
    return [list(value) if isinstance(value, tuple) else value for value in stored]


# ------------------------------------------------------------------ replacements


def home(folder: Path) -> Path:
    """Where the files of a run's model are: in its folder, or in that of a replacement that is complete.

    Training a replacement and moving it may be interrupted at any time. Its configuration says when training has
    finished, its weights are there until all has been moved: with both, the replacement is the run.
    """
    new = folder / REPLACEMENT
    if new.is_symlink() or not (new / CONFIG).exists() or not (new / WEIGHTS).exists():
        return folder
    try:
        config = read_stored(new)
    except InputError:
        return folder
    return new if isinstance(config, dict) and config.get("finished") is True else folder


def clear_replacement(folder: Path) -> None:
    """Remove the replacement of a run; raises InputError if the folder of its name holds files of others."""
    new = folder / REPLACEMENT
    check_no_link(new)
    if not new.exists():
        return
    check_own_files(new)
    clear(new, (WEIGHTS,))
    clear(new, RUN_FILES)
    clear(new, (CONFIG,))  # last: by it the other files are known to be isthmus's
    with contextlib.suppress(OSError):  # it holds files of the user's
        new.rmdir()


def promote_replacement(folder: Path) -> None:
    """Let a complete replacement take the place of a run; after an interruption this can be done again."""
    new = folder / REPLACEMENT
    clear(folder, RUN_FILES)
    for name in (WEIGHTS, HISTORY, CONFIG):
        if (new / name).exists():
            with atomic_write(folder / name) as part:
                shutil.copyfile(new / name, part)
    clear_replacement(folder)
