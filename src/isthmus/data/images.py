"""Folders of images."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from isthmus.atomic_io import os_reason
from isthmus.data.dataset import Dataset
from isthmus.data.guards import require_memory
from isthmus.data.image_files import (
    IMAGE_SUFFIXES,
    UnreadableImage,
    depth_of,
    frame_count,
    read_frames,
    shown_path,
)
from isthmus.data.image_options import MAX_SUGGESTED_SIDE, ImageOptions
from isthmus.errors import InputError
from isthmus.examples import Examples
from isthmus.wording import join_names, one_line

if TYPE_CHECKING:
    import numpy as np

SPLITS = {
    "train": "train", "training": "train",
    "val": "valid", "valid": "valid", "validation": "valid", "dev": "valid",
    "test": "test", "testing": "test",
}  # fmt: skip
"""Usual names of a folder that holds a part of the data set, in lower case, and the part."""
ARCHIVE_FOLDERS = ("__MACOSX",)
"""Folders that programs leave in archives, with files that are no images."""


class FirstImage(NamedTuple):
    """The first image of a data set, whose size and mode all others must have."""

    image: np.ndarray
    path: Path


def from_folder(folder: Path, source: str, options: ImageOptions) -> Dataset:
    """Read the images of a folder in order of their names, all of one size and mode; subfolders are labels.

    Subfolders with the usual names of splits (`SPLITS`) are parts of the data set, each of them a folder of images.
    """
    images = find_images(folder)
    top = sorted({path.relative_to(folder).parts[0] for path in images if path.parent != folder})
    parts = splits_of(folder, top)
    if parts and any(path.parent == folder for path in images):
        raise InputError(
            f"images of {shown_path(folder)} must lie in its folders {shown_names(top)}, but some lie beside them."
        )
    roots = {part: folder / name for part, name in (parts or {"train": "."}).items()}
    paths = {part: [path for path in images if path.is_relative_to(root)] for part, root in roots.items()}
    try:
        if options.mode and {depth_of(path) for path in images} == {"uint8", "uint16"}:
            options = replace(options, to_bytes=True)
        first = FirstImage(next(read_frames(paths["train"][0], options)), paths["train"][0])
        read = {part: read_images(paths[part], folder, roots[part], first, options) for part in paths}
    except UnreadableImage as error:
        raise all_unreadable(error, images, folder, options) from None
    return Dataset(source, read["train"], read.get("valid"), read.get("test"), images=options)


def all_unreadable(error: UnreadableImage, paths: list[Path], folder: Path, options: ImageOptions) -> InputError:
    """The error for all files that cannot be read, after that of the first one that was found."""
    names = []
    for path in paths:
        try:
            for _ in read_frames(path, options):
                pass
        except UnreadableImage:
            names.append(path.relative_to(folder).as_posix())
    if len(names) < 2:
        return InputError(str(error))
    listed = f"{len(names):,} images of {shown_path(folder)} cannot be read: {shown_names(names)}"
    return InputError(f"{listed}. For example: {error}")


def from_file(path: Path, source: str, options: ImageOptions) -> Dataset:
    """Read the image in a file, or all those of a TIFF file."""
    try:
        first = FirstImage(next(read_frames(path, options)), path)
        return Dataset(source, read_images([path], path.parent, path.parent, first, options), images=options)
    except UnreadableImage as error:
        raise InputError(str(error)) from None


def find_images(folder: Path) -> list[Path]:
    """The images of a folder and its subfolders, in order; hidden files and folders are left out.

    Raises:
        InputError: if there are none, or a folder cannot be read.
    """

    def unreadable(error: OSError) -> None:
        raise InputError(f"cannot read {shown_path(Path(error.filename))}: {os_reason(error)}") from None

    images: list[Path] = []
    entered: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for parent, folders, files in os.walk(folder, onerror=unreadable, followlinks=True):
        path = Path(parent)
        parts = path.relative_to(folder).parts
        above = {os.path.realpath(each) for each in [path, *list(path.parents)[: len(parts)]]}
        visible = [name for name in sorted(folders) if not name.startswith(".") and name not in ARCHIVE_FOLDERS]
        folders.clear()
        for name in visible:
            # Links may lead back above, or from each folder to all others. Two labels, of one part, may be one folder.
            real, known = os.path.realpath(path / name), entered[(*parts, name)[:2]]
            if real not in above and real not in known:
                known.add(real)
                folders.append(name)
        images += [path / name for name in files if is_image(name)]
    if not images:
        raise InputError(f"{shown_path(folder)} must hold images ({', '.join(IMAGE_SUFFIXES)}), but has none.")
    return sorted(images)


def is_image(name: str) -> bool:
    """Whether a file is an image by its name, and not hidden."""
    return name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith(".")


def splits_of(folder: Path, names: list[str]) -> dict[str, str]:
    """The part that each subfolder of this name is, empty where subfolders are labels.

    Raises:
        InputError: if some are splits and others are not, two are the same part, or none is the training part.
    """
    known = {name: SPLITS[name.lower()] for name in names if name.lower() in SPLITS}
    others = [name for name in names if name not in known]
    if len(known) < 2 and (others or set(known.values()) != {"train"}):
        return {}  # one class may be called "test"
    if others:
        raise InputError(
            f"folders of {shown_path(folder)} must be either parts of the data or labels, got {shown_names(known)} and "
            f"{shown_names(others)}. Move the others elsewhere."
        )
    parts = {part: name for name, part in known.items()}
    for part in parts:
        names = [name for name in known if known[name] == part]
        if len(names) > 1:
            raise InputError(
                f"each part of {shown_path(folder)} must be one folder, got {join_names(names)}. Join them."
            )
    if "train" not in parts:
        raise InputError(f"{shown_path(folder)} must have a folder train beside {join_names(known)}.")
    return {part: parts[part] for part in ("train", "valid", "test") if part in parts}


def read_images(paths: list[Path], folder: Path, root: Path, first: FirstImage, options: ImageOptions) -> Examples:
    """Images of one size and mode, those of one bit as 0 and 1; each frame of a TIFF file is an image.

    Args:
        paths: the files.
        folder: the folder of the data set: the images are named by their paths in it.
        root: the folder of this part of it, whose subfolders are the labels of the images in them.
        first: the first image of the data set.
        options: the size and mode to bring the images to.
    """
    import numpy as np

    labels = label_names(paths, root)
    counts = [frame_count(path) for path in paths]
    require_memory(sum(counts) * first.image.nbytes, shown_path(root))
    x = np.empty((sum(counts), *first.image.shape), np.uint8 if first.image.dtype == bool else first.image.dtype)
    start = 0
    for path in paths:
        for image in read_frames(path, options):
            if image.shape != first.image.shape or image.dtype != first.image.dtype:
                raise unlike(image, path, first)
            x[start] = image
            start += 1
    ids = [name for path, count in zip(paths, counts) for name in frame_names(path.relative_to(folder), count)]
    return Examples(x, None if labels is None else np.repeat(labels, counts), ids=np.array(ids))


def label_names(paths: list[Path], root: Path) -> list[str] | None:
    """The subfolder of `root` that each file is in; None if all are in `root` itself."""
    subfolders = [path.relative_to(root).parts[:-1] for path in paths]
    if not any(subfolders):
        return None
    if not all(subfolders):
        raise InputError(
            f"images must lie either all in {shown_path(root)} or all in its subfolders, which are their labels, but "
            "some lie in both. Move them."
        )
    labels = [names[0] for names in subfolders]
    foreign = next((label for label in labels if not label.isprintable()), None)
    if foreign is not None:
        raise InputError(f"folders that are labels must have printable names, got {one_line(foreign)!r}. Rename it.")
    return labels


def frame_names(path: Path, count: int) -> list[str]:
    """A name for each image of a file: its path, with a number if it holds several.

    >>> frame_names(Path("a/cat.png"), 1), frame_names(Path("a/cells.tif"), 2)
    (['a/cat.png'], ['a/cells-0.tif', 'a/cells-1.tif'])
    """
    name = path.as_posix().encode("utf-8", "replace").decode("utf-8")  # names on disk need not be text
    if count == 1:
        return [name]
    end = len(name) - len(path.suffix)
    return [f"{name[:end]}-{i:0{len(str(count - 1))}}{name[end:]}" for i in range(count)]


def unlike(image: np.ndarray, path: Path, first: FirstImage) -> InputError:
    """The error for an image of another size, mode or depth than the first, with the options that help."""
    import numpy as np

    got = (
        f"{describe_image(image)} ({shown_path(path)}) and {describe_image(first.image)} ({one_line(first.path.name)})"
    )
    depths = {np.dtype(np.uint8) if each.dtype == bool else each.dtype for each in (image, first.image)}
    if len(depths) > 1 and not depths <= {np.dtype(np.uint8), np.dtype(np.uint16)}:
        return InputError(f"images must have the same number of bits, got {got}. Save all of them with as many.")
    colour = image.ndim == 3 or first.image.ndim == 3
    same_size, same_mode = image.shape[:2] == first.image.shape[:2], image.dtype == first.image.dtype
    options = ImageOptions.parse(
        size=None if same_size else min(MAX_SUGGESTED_SIDE, *image.shape[:2], *first.image.shape[:2]),
        mode=None if same_mode and image.ndim == first.image.ndim else "rgb" if colour else "grey",
    )
    verbs = " and ".join(["resize"] * bool(options.size) + ["convert"] * bool(options.mode))
    crop = "; add --crop to cut them to a square instead of stretching them" if options.size else ""
    alike = "size, mode and number of bits" if len(depths) > 1 else "size and mode"
    return InputError(f"images must have the same {alike}, got {got}. {options.advice()} to {verbs} them{crop}.")


def describe_image(image: np.ndarray) -> str:
    """Size and mode in words, for example "8 x 6 grey".

    >>> import numpy as np
    >>> describe_image(np.zeros((6, 8), np.uint16))
    '8 x 6 16-bit grey'
    """
    if image.dtype == bool:
        mode = "one-bit"
    else:
        depth = {"uint8": "", "uint16": "16-bit "}.get(image.dtype.name, f"{image.dtype} ")
        mode = depth + ("colour" if image.ndim == 3 else "grey")
    return f"{image.shape[1]} x {image.shape[0]} {mode}"


def shown_names(names: Iterable[str]) -> str:
    """Names of folders in a message."""
    return join_names(map(one_line, names))
