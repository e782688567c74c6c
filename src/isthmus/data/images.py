"""Folders of images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from isthmus.data.dataset import Dataset
from isthmus.data.guards import read_errors, require_memory
from isthmus.errors import InputError
from isthmus.examples import PARTS, Examples

if TYPE_CHECKING:
    import numpy as np

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm", ".pbm")

CONVERTED_MODES = {
    "1": "1", "L": "L", "LA": "L", "RGB": "RGB", "RGBA": "RGB", "P": "RGB", "PA": "RGB", "CMYK": "RGB",
}  # fmt: skip
"""Pillow's image modes that can be read, and the mode that each is converted to."""


def from_folder(folder: Path, source: str) -> Dataset:
    """Read the images of a folder, all of one size, in order of their names; subfolders are labels.

    Subfolders named train, valid and test are parts of the data set, each of them a folder of images.
    """
    subfolders = {entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith(".")}
    if "train" not in subfolders or not subfolders <= set(PARTS):
        return Dataset(source, read_images(folder, source))
    parts = {name: read_images(folder / name, source) for name in PARTS if name in subfolders}
    for name, part in parts.items():
        if part.x.shape[1:] != parts["train"].x.shape[1:]:
            raise InputError(
                f"all images of {source} must have the same shape, got {part.x.shape[1:]} ({name}) and "
                f"{parts['train'].x.shape[1:]} (train)."
            )
    return Dataset(source, parts["train"], parts.get("valid"), parts.get("test"))


def read_images(folder: Path, source: str) -> Examples:
    """The images of a folder and its subfolders, labelled by these.

    Grey images become uint8 (n, h, w), colour images uint8 (n, h, w, 3) without transparency, and one-bit images 0
    and 1 as uint8.
    """
    import numpy as np

    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith("."))
    if not paths:
        raise InputError(f"{folder} must hold images ({', '.join(IMAGE_SUFFIXES)}), but has none.")
    subfolders = [path.relative_to(folder).parts[:-1] for path in paths]
    if any(subfolders) and not all(subfolders):
        raise InputError(
            f"images must lie either all in {folder} or all in its subfolders, which are their labels, but some lie "
            "in both. Move them."
        )
    first = read_image(paths[0])
    require_memory(len(paths) * first.nbytes, source)
    x = np.empty((len(paths), *first.shape), np.uint8)
    for row, path in zip(x, paths):
        image = read_image(path)
        if image.shape != first.shape or image.dtype != first.dtype:
            raise InputError(
                f"images must have the same size and mode, got {describe_image(image)} ({path}) and "
                f"{describe_image(first)} ({paths[0].name})."
            )
        row[...] = image
    return Examples(x, np.array([names[0] for names in subfolders]) if all(subfolders) else None)


def describe_image(image: np.ndarray) -> str:
    """Size and mode in words, for example "8 x 6 grey"."""
    mode = "one-bit" if image.dtype == bool else "colour" if image.ndim == 3 else "grey"
    return f"{image.shape[1]} x {image.shape[0]} {mode}"


def read_image(path: Path) -> np.ndarray:
    """One image, rotated as its EXIF data say: uint8 (h, w) or (h, w, 3), or bool (h, w) for one-bit images."""
    import numpy as np
    from PIL import Image, ImageOps, UnidentifiedImageError

    with read_errors(str(path)), path.open("rb") as file:
        try:
            image = Image.open(file)
        except UnidentifiedImageError:
            raise InputError(f"cannot read {path}: it is not an image") from None
        if image.mode not in CONVERTED_MODES:
            raise InputError(f"{path} must be a grey or colour image of 8 bits per channel, got mode {image.mode}.")
        return np.asarray(ImageOps.exif_transpose(image).convert(CONVERTED_MODES[image.mode]))
