"""How images are brought to one size and mode."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from isthmus.errors import InputError, unknown

if TYPE_CHECKING:
    from PIL import Image

MODES = ("grey", "rgb")
MAX_PIXELS = 2**27
"""Pixels of an image, at most: a small file can declare billions of them."""
MAX_SUGGESTED_SIDE = 64
"""Width that an error suggests for images of different sizes, unless one of them is smaller."""


@dataclass(frozen=True)
class ImageOptions:
    """How images are brought to one size and mode; by default they are read as they are.

    Args:
        size: (width, height) in pixels to resize each image to.
        crop: cut each image about its centre to the aspect ratio of `size`, or to a square, before it is resized.
        mode: "grey" or "rgb", to convert each image to.
        to_bytes: whether numbers of 16 bits become bytes, as where some of the images of a run had 8 bits.
        remembered: whether these are the options of a run, which have no meaning for data that are not image files.
    """

    size: tuple[int, int] | None = None
    crop: bool = False
    mode: str | None = None
    to_bytes: bool = False
    remembered: bool = False

    @classmethod
    def parse(cls, size: Any = None, crop: Any = None, mode: Any = None) -> ImageOptions:
        """The options from the values that users write: a size may be 64, "64", "64x48" or (64, 48).

        >>> ImageOptions.parse("64x48").size, ImageOptions.parse(64).size
        ((64, 48), (64, 64))

        Raises:
            InputError: for values that are none of these.
        """
        crop = False if crop is None else crop
        if not isinstance(crop, bool):
            raise InputError(f"crop must be True or False, got {crop!r:.60}.")
        if mode is not None and mode not in MODES:
            raise unknown("mode", str(mode)[:60], MODES)
        return cls(None if size is None else parse_size(size), crop, mode)

    @classmethod
    def of_run(cls, source: Mapping[str, Any] | None, remembered: bool = True) -> ImageOptions:
        """The options in what the configuration of a run says of its source."""
        known = source or {}
        options = cls.parse(*(known.get(name) for name in ("size", "crop", "mode")))
        return replace(options, to_bytes=known.get("to_bytes") is True, remembered=remembered)

    def to_config(self) -> dict[str, Any]:
        """Plain values for JSON, which `of_run` reads."""
        size = list(self.size) if self.size else None
        return {"size": size, "crop": self.crop, "mode": self.mode} | ({"to_bytes": True} if self.to_bytes else {})

    def options(self) -> list[str]:
        """These options as arguments of the command line.

        >>> ImageOptions.parse(64, True, "grey").options()
        ['--size', '64', '--crop', '--mode', 'grey']
        """
        size = ["--size", format_size(*self.size)] if self.size else []
        return [*size, *(["--crop"] if self.crop else []), *(["--mode", self.mode] if self.mode else [])]

    def advice(self) -> str:
        """What an error says to do: to pass these options.

        >>> ImageOptions.parse(64, mode="rgb").advice()
        "Pass --size 64 --mode rgb (in Python, isthmus.read(..., size=64, mode='rgb'))"
        """
        return f"Pass {' '.join(self.options())} (in Python, isthmus.read(..., {', '.join(self.keywords())}))"

    def keywords(self) -> list[str]:
        """These options as arguments of `isthmus.read`.

        >>> ImageOptions.parse(64, True, "grey").keywords()
        ['size=64', 'crop=True', "mode='grey'"]
        """
        size = (self.size[0] if self.size[0] == self.size[1] else self.size) if self.size else None
        values = {"size": size, "crop": self.crop, "mode": self.mode}
        return [f"{name}={value!r}" for name, value in values.items() if value]

    def resize(self, image: Image.Image) -> Image.Image:
        """The image, cropped and resized; the mean of the pixels that become one, so no value leaves the range."""
        from PIL.Image import Resampling

        width, height = image.size
        box = centre_box(width, height, *(self.size or (1, 1))) if self.crop else (0, 0, width, height)
        if self.size:
            return image.resize(self.size, Resampling.BILINEAR, box)
        return image.crop((int(box[0]), int(box[1]), int(box[2]), int(box[3]))) if self.crop else image


def centre_box(width: int, height: int, x: int, y: int) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of the largest box of aspect ratio x : y about the centre.

    >>> centre_box(10, 4, 1, 1)
    (3.0, 0.0, 7.0, 4.0)
    """
    scale = min(width / x, height / y)
    left, top = (width - scale * x) / 2, (height - scale * y) / 2
    return left, top, width - left, height - top


def parse_size(size: Any) -> tuple[int, int]:
    """(width, height) of 64, "64", "64x48" or (64, 48)."""
    pieces: Any = size if isinstance(size, tuple | list) else (size, size)
    if isinstance(size, str) and (match := re.fullmatch(r"(\d{1,9})(?:x(\d{1,9}))?", size.strip().lower())):
        pieces = (int(match[1]), int(match[2] or match[1]))
    valid = len(pieces) == 2 and all(type(side) is int and side >= 1 for side in pieces)
    if not valid:
        raise InputError(f"size must be a width and a height in pixels, such as 64 or 64x48, got {size!r:.60}.")
    if pieces[0] * pieces[1] > MAX_PIXELS:
        raise InputError(f"size must be at most {MAX_PIXELS:,} pixels, got {size!r:.60}.")
    return pieces[0], pieces[1]


def format_size(width: int, height: int) -> str:
    """A size as it is written on the command line.

    >>> format_size(64, 64), format_size(64, 48)
    ('64', '64x48')
    """
    return str(width) if width == height else f"{width}x{height}"


AS_THEY_ARE = ImageOptions()
"""Images keep their size and mode."""
