"""Folders of images."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from isthmus.atomic_io import os_reason
from isthmus.data.dataset import Dataset
from isthmus.data.guards import read_errors, require_memory
from isthmus.errors import InputError
from isthmus.examples import Examples
from isthmus.wording import join_names

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm", ".pbm")
STACK_SUFFIXES = (".tif", ".tiff")
"""Of files that may hold several images."""
IMAGE_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
"""Pillow's formats of these suffixes. It has others, some of which start programs on what the file says."""

CONVERTED_MODES = {
    "1": "1", "L": "L", "LA": "L", "RGB": "RGB", "RGBA": "RGB", "P": "RGB", "PA": "RGB", "CMYK": "RGB",
}  # fmt: skip
"""Pillow's image modes that can be read, and the mode that each is converted to."""

SPLITS = {
    "train": "train", "training": "train",
    "val": "valid", "valid": "valid", "validation": "valid", "dev": "valid",
    "test": "test", "testing": "test",
}  # fmt: skip
"""Usual names of a folder that holds a part of the data set, in lower case, and the part."""
ARCHIVE_FOLDERS = ("__MACOSX",)
"""Folders that programs leave in archives, with files that are no images."""


def from_folder(folder: Path, source: str) -> Dataset:
    """Read the images of a folder, all of one size, in order of their names; subfolders are labels.

    Subfolders with the usual names of splits (`SPLITS`) are parts of the data set, each of them a folder of images.
    """
    images = find_images(folder)
    top = sorted({path.relative_to(folder).parts[0] for path in images if path.parent != folder})
    parts = splits_of(folder, top)
    if not parts:
        return Dataset(source, read_images(folder, images, source))
    if any(path.parent == folder for path in images):
        raise InputError(f"images of {folder} must lie in its folders {join_names(top)}, but some lie beside them.")
    read = {
        part: read_images(folder / name, [path for path in images if path.is_relative_to(folder / name)], source)
        for part, name in parts.items()
    }
    for name, part in read.items():
        if part.x.shape[1:] != read["train"].x.shape[1:]:
            raise InputError(
                f"all images of {source} must have the same shape, got {part.x.shape[1:]} ({name}) and "
                f"{read['train'].x.shape[1:]} (train)."
            )
    return Dataset(source, read["train"], read.get("valid"), read.get("test"))


def find_images(folder: Path) -> list[Path]:
    """The images of a folder and its subfolders, in order; hidden files and folders are left out.

    Raises:
        InputError: if there are none, or a folder cannot be read.
    """

    def unreadable(error: OSError) -> None:
        raise InputError(f"cannot read {error.filename}: {os_reason(error)}") from None

    images: list[Path] = []
    for parent, folders, files in os.walk(folder, onerror=unreadable, followlinks=True):
        path = Path(parent)
        above = [path, *list(path.parents)[: len(path.relative_to(folder).parts)]]
        entered = {os.path.realpath(each) for each in above}  # a link may lead back to a folder above it
        visible = [name for name in folders if not name.startswith(".") and name not in ARCHIVE_FOLDERS]
        folders[:] = [name for name in visible if os.path.realpath(path / name) not in entered]
        images += [path / name for name in files if is_image(name)]
    if not images:
        raise InputError(f"{folder} must hold images ({', '.join(IMAGE_SUFFIXES)}), but has none.")
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
            f"folders of {folder} must be either parts of the data or labels, got {join_names(known)} and "
            f"{join_names(others)}. Move the others elsewhere."
        )
    parts = {part: name for name, part in known.items()}
    for part in parts:
        names = [name for name in known if known[name] == part]
        if len(names) > 1:
            raise InputError(f"each part of {folder} must be one folder, got {join_names(names)}. Join them.")
    if "train" not in parts:
        raise InputError(f"{folder} must have a folder train beside {join_names(known)}.")
    return {part: parts[part] for part in ("train", "valid", "test") if part in parts}


def read_images(folder: Path, paths: list[Path], source: str) -> Examples:
    """Images below a folder, labelled by its subfolders.

    Grey images become uint8 (n, h, w), colour images uint8 (n, h, w, 3), transparent ones on white, and one-bit images
    0 and 1 as uint8. Each frame of a TIFF file is an image.
    """
    import numpy as np

    subfolders = [path.relative_to(folder).parts[:-1] for path in paths]
    if any(subfolders) and not all(subfolders):
        raise InputError(
            f"images must lie either all in {folder} or all in its subfolders, which are their labels, but some lie "
            "in both. Move them."
        )
    first = next(read_frames(paths[0]))
    counts = [frame_count(path) for path in paths]
    require_memory(sum(counts) * first.nbytes, source)
    x = np.empty((sum(counts), *first.shape), np.uint8)
    start = 0
    for path in paths:
        for frame in read_frames(path):
            if frame.shape != first.shape or frame.dtype != first.dtype:
                raise InputError(
                    f"images must have the same size and mode, got {describe_image(frame)} ({path}) and "
                    f"{describe_image(first)} ({paths[0].name}). Resize or convert them to one size and mode."
                )
            x[start] = frame
            start += 1
    labels = np.repeat([names[0] for names in subfolders], counts) if all(subfolders) else None
    return Examples(x, labels)


def describe_image(image: np.ndarray) -> str:
    """Size and mode in words, for example "8 x 6 grey"."""
    mode = "one-bit" if image.dtype == bool else "colour" if image.ndim == 3 else "grey"
    return f"{image.shape[1]} x {image.shape[0]} {mode}"


def frame_count(path: Path) -> int:
    """Images in a file."""
    if path.suffix.lower() not in STACK_SUFFIXES:
        return 1
    with read_errors(str(path)), path.open("rb") as file:
        return int(getattr(open_image(file, path), "n_frames", 1))


def read_frames(path: Path) -> Iterator[np.ndarray]:
    """The images of a file in turn, each uint8 (h, w) or (h, w, 3), or bool (h, w) for one-bit images.

    Raises:
        InputError: for a file that is no image of `IMAGE_FORMATS`, of more than 8 bits, or an animation.
    """
    with read_errors(str(path)), path.open("rb") as file:
        image = open_image(file, path)
        # A camera's JPEG may hold previews and depth maps beside the image, which comes first.
        frames = 1 if image.format == "MPO" else int(getattr(image, "n_frames", 1))
        if frames > 1 and image.format != "TIFF":
            raise InputError(f"{path} must hold one image, got an animation of {frames}. Save its frames as files.")
        if frames > 1 and path.suffix.lower() not in STACK_SUFFIXES:
            raise InputError(f"{path} is a TIFF file of {frames} images. Name it .tif.")
        for i in range(frames):
            yield frame_at(image, i, path)


def open_image(file: object, path: Path) -> Image.Image:
    """An image of one of `IMAGE_FORMATS`, not yet decoded."""
    from PIL import Image, UnidentifiedImageError

    try:
        return Image.open(file, formats=IMAGE_FORMATS)  # type: ignore[arg-type]
    except UnidentifiedImageError:
        formats = ", ".join(IMAGE_FORMATS)
        raise InputError(f"cannot read {path}: it is not an image of the format {formats}") from None


def frame_at(image: Image.Image, i: int, path: Path) -> np.ndarray:
    """Frame i of an image file, rotated as its EXIF data say, on white where it is transparent."""
    import numpy as np
    from PIL import Image, ImageOps

    if i:
        image.seek(i)
    if image.mode not in CONVERTED_MODES:
        raise InputError(f"{path} must be a grey or colour image of 8 bits per channel, got mode {image.mode}.")
    mode = CONVERTED_MODES[image.mode]
    frame = ImageOps.exif_transpose(image)
    if frame.has_transparency_data:
        frame = frame.convert("RGBA")
        frame = Image.alpha_composite(Image.new("RGBA", frame.size, "white"), frame)
    return np.asarray(frame.convert(mode))
