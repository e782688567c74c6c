"""Folders of images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from isthmus.data.dataset import Dataset
from isthmus.data.guards import need, reading
from isthmus.errors import InputError
from isthmus.examples import Examples

if TYPE_CHECKING:
    import numpy as np

IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm", ".pbm")


def from_folder(folder: Path, source: str) -> Dataset:
    """Images of one size, in the order of their names; the subfolders that they lie in are their labels.

    Subfolders named train, valid and test are parts of the data, each a folder of images.
    """
    parts = {entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith(".")}
    if "train" in parts and parts <= {"train", "valid", "test"}:
        train, valid, test = (images_of(folder / p, source) if p in parts else None for p in ("train", "valid", "test"))
        for part in (valid, test):
            if part is not None and train is not None and part.x.shape[1:] != train.x.shape[1:]:
                raise InputError(
                    f"images of shape {part.x.shape[1:]} and {train.x.shape[1:]} in the parts of {source}; "
                    "they must be alike"
                )
        assert train is not None
        return Dataset(source, train, valid, test)
    return Dataset(source, images_of(folder, source))


def images_of(folder: Path, source: str) -> Examples:
    """Images as bytes: (n, h, w) grey, 0 and 1 where they are one-bit, or (n, h, w, 3) colour; no transparency."""
    import numpy as np

    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in IMAGES and not p.name.startswith("."))
    if not paths:
        raise InputError(f"no images in {folder}; {', '.join(IMAGES)} are read")
    homes = [path.relative_to(folder).parts[:-1] for path in paths]
    if any(homes) and not all(homes):
        raise InputError(f"images lie in {folder} and in folders in it; labels are known for none or for all of them")
    first = pixels(paths[0])
    need(len(paths) * first.nbytes, source)
    x = np.empty((len(paths), *first.shape), np.uint8)
    for row, path in zip(x, paths):
        image = pixels(path)
        if image.shape != first.shape or image.dtype != first.dtype:
            raise InputError(
                f"{path} is {spelled(image)} and {paths[0].name} {spelled(first)}; images of one size and mode "
                "are wanted"
            )
        row[...] = image
    return Examples(x, np.array([home[0] for home in homes]) if all(homes) else None)


def spelled(image: np.ndarray) -> str:
    """Size and mode in words."""
    mode = "one-bit" if image.dtype == bool else "colour" if image.ndim == 3 else "grey"
    return f"{image.shape[1]} x {image.shape[0]} {mode}"


MODES = {"1": "1", "L": "L", "LA": "L", "RGB": "RGB", "RGBA": "RGB", "P": "RGB", "PA": "RGB", "CMYK": "RGB"}
"""Pillow's modes, and what each is read as."""


def pixels(path: Path) -> np.ndarray:
    """One image: (h, w) bytes or truth values, or (h, w, 3) bytes; turned as its camera says."""
    import numpy as np
    from PIL import Image, ImageOps, UnidentifiedImageError

    with reading(str(path)), path.open("rb") as file:
        try:
            image = Image.open(file)
        except UnidentifiedImageError:
            raise InputError(f"cannot read {path}: it is not an image") from None
        if image.mode not in MODES:
            raise InputError(f"{path} has mode {image.mode}; grey or colour of 8 bits is wanted")
        return np.asarray(ImageOps.exif_transpose(image).convert(MODES[image.mode]))
