"""One image file: its frames as arrays, decoded as a format of images and without loss, or refused."""

from __future__ import annotations

import contextlib
import stat
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from isthmus.data.guards import read_errors
from isthmus.data.image_options import MAX_PIXELS, ImageOptions
from isthmus.errors import InputError
from isthmus.wording import one_line

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image, ImageFile

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm", ".pbm")
STACK_SUFFIXES = (".tif", ".tiff")
"""Of files that may hold several images."""
IMAGE_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
"""Pillow's formats of these suffixes. It has others, some of which start programs on what the file says."""

CONVERTED_MODES = {
    "1": "1", "L": "L", "LA": "L", "RGB": "RGB", "RGBA": "RGB", "P": "RGB", "PA": "RGB", "CMYK": "RGB",
    "I;16": "I", "I;16B": "I", "I": "I", "F": "F",
}  # fmt: skip
"""Pillow's image modes that can be read, and the mode that each is converted to: bits, bytes, integers or floats."""
LUMA = (19595, 38470, 7471)
"""Weights of red, green and blue in grey, of 65,536: those that Pillow gives bytes."""
DRAFT_FACTOR = 2
"""A JPEG to be resized is decoded at the lowest resolution that is at least so many times the size."""

SUBFILE_TYPE, BITS_PER_SAMPLE, PHOTOMETRIC, PLANES, SAMPLE_FORMAT = 254, 258, 262, 284, 339
"""Tags of TIFF."""
SMALLER_OR_MASK = 0b101
"""Bits of the subfile type: the frame is a smaller version of another, or its mask."""
WHITE_IS_ZERO, INTERLEAVED = 0, 1
"""Values of the tags photometric and planes."""
SAMPLE_FORMATS = {1: "uint", 2: "int", 3: "float"}
"""Kinds of numbers by the value of the tag sample format."""


def shown_path(path: Path) -> str:
    """A path in a message: on one line, and the end of a long one."""
    text = str(path)
    return one_line(text if len(text) <= 120 else "..." + text[-117:])


class UnreadableImage(InputError):
    """A file cannot be read as an image."""


@contextlib.contextmanager
def open_file(path: Path) -> Iterator[IO[bytes]]:
    """Open a file; whatever its readers raise inside the context becomes an UnreadableImage of one line."""
    try:
        with read_errors(shown_path(path)):
            if not stat.S_ISREG(path.stat().st_mode):
                raise InputError(f"{shown_path(path)} must be a file, but is a pipe, a device or a folder. Remove it.")
            with path.open("rb") as file:
                yield file
    except InputError as error:
        raise UnreadableImage(str(error)) from None


def depth_of(path: Path) -> str:
    """The dtype of the numbers of the first image in a file."""
    with open_file(path) as file:
        return number_type(open_image(file, path))


def frame_count(path: Path) -> int:
    """Images in a file."""
    if path.suffix.lower() not in STACK_SUFFIXES:
        return 1
    with open_file(path) as file:
        return len(frame_numbers(open_image(file, path)))


def read_frames(path: Path, options: ImageOptions) -> Iterator[np.ndarray]:
    """The images of a file in turn, each (h, w) or (h, w, 3).

    Images of 8 bits are uint8, of 16 bits uint16, of other numbers int32 or float32. Those of one bit are bool, unless
    the options resize or convert them to greys.

    Raises:
        UnreadableImage: for a file that is no image of `IMAGE_FORMATS`, could not be read without loss, or is an
            animation.
    """
    with open_file(path) as file:
        image = open_image(file, path)
        frames = frame_numbers(image)
        if len(frames) > 1 and image.format != "TIFF":
            raise InputError(
                f"{shown_path(path)} must hold one image, got an animation of {len(frames)}. Save its frames as files."
            )
        if len(frames) > 1 and path.suffix.lower() not in STACK_SUFFIXES:
            raise InputError(f"{shown_path(path)} is a TIFF file of {len(frames)} images. Name it .tif.")
        for i in frames:
            if image.format == "TIFF":
                image.seek(i)
            yield read_frame(image, path, options)


def open_image(file: IO[bytes], path: Path) -> ImageFile.ImageFile:
    """An image of one of `IMAGE_FORMATS`, not yet decoded."""
    from PIL import Image, UnidentifiedImageError

    with quiet():
        try:
            return Image.open(file, formats=IMAGE_FORMATS)
        except UnidentifiedImageError:
            formats = ", ".join(IMAGE_FORMATS)
            raise InputError(
                f"cannot read {shown_path(path)}: it is not an image of the format {formats}, or of a rare kind of it"
            ) from None
        except Image.DecompressionBombError:
            raise too_large(path) from None


def quiet() -> warnings.catch_warnings:
    """A context without Pillow's warnings: of metadata that are not read, and of sizes that are checked here."""
    return warnings.catch_warnings(action="ignore")


def too_large(path: Path) -> InputError:
    return InputError(f"{shown_path(path)} must have at most {MAX_PIXELS:,} pixels, but declares more. Cut it up.")


def frame_numbers(image: ImageFile.ImageFile) -> list[int]:
    """Positions of the images in a file; of a TIFF without smaller versions and masks of others."""
    if image.format == "MPO":
        return [0]  # a camera's JPEG may hold previews and depth maps beside the image, which comes first

    def is_image(i: int) -> bool:
        image.seek(i)
        return not int(image.tag_v2.get(SUBFILE_TYPE, 0)) & SMALLER_OR_MASK  # type: ignore[attr-defined]

    with quiet():
        frames = list(range(int(getattr(image, "n_frames", 1))))
        return [i for i in frames if is_image(i)] or [0] if image.format == "TIFF" and len(frames) > 1 else frames


def read_frame(image: ImageFile.ImageFile, path: Path, options: ImageOptions) -> np.ndarray:
    """The current frame: rotated as its EXIF data say, on white where it is transparent, then as the options say."""
    import numpy as np
    from PIL import Image

    if image.width * image.height > MAX_PIXELS:
        raise too_large(path)
    dtype = number_type(image)
    refuse_loss(image, dtype, path)
    mode = CONVERTED_MODES[image.mode]
    if mode in ("1", "L", "RGB") and options.mode:
        mode = {"grey": "L", "rgb": "RGB"}[options.mode]
    elif mode == "1" and options.size:
        mode = "L"  # between black and white come greys
    with quiet():
        if image.mode == "RGB" and dtype == "uint16":
            colour = read_16_bit_colour(image, path)
            planes = (
                [colour.astype(np.int64) @ np.array(LUMA) + 2**15 >> 16]
                if options.mode == "grey"
                else list(np.moveaxis(colour, -1, 0))
            )
            channels = [Image.fromarray(plane.astype(np.int32)) for plane in planes]
        else:
            if options.size and image.format == "JPEG":
                side = DRAFT_FACTOR * max(options.size)
                image.draft(image.mode, (side, side))
            channels = [on_white(upright(image)).convert(mode)]
        if dtype == "uint32" and (np.asarray(channels[0]) < 0).any():
            raise InputError(f"{shown_path(path)} must hold numbers below {2**31:,}, but holds larger ones.")
        arrays = [np.asarray(options.resize(channel)) for channel in channels]
    if mode in ("I", "F") and options.mode == "rgb":
        arrays *= 3
    frame = arrays[0] if len(arrays) == 1 else np.stack(arrays, -1)
    if dtype == "uint16" and options.to_bytes:
        return np.round(frame / 257).astype(np.uint8)  # 65535 becomes 255
    return frame if dtype == "uint8" else frame.astype(dtype)


def number_type(image: ImageFile.ImageFile) -> str:
    """The dtype of the numbers in the file; Pillow may give another, or cut them to bytes."""
    if image.format == "TIFF":
        tags = image.tag_v2  # type: ignore[attr-defined]
        bits, form = max(tags.get(BITS_PER_SAMPLE, (1,))), tags.get(SAMPLE_FORMAT, (1,))[0]
        return f"{SAMPLE_FORMATS.get(form, 'uint')}{8 if bits <= 8 else 16 if bits <= 16 else 32}"
    decoder = image.tile[0].args if image.tile else ""
    if image.format == "PNG":
        return "uint16" if str(decoder).endswith("16B") else "uint8"
    if image.format == "PPM":  # the decoder's last argument is the largest value of a number
        wide = isinstance(decoder, tuple) and int(decoder[-1]) > 255
        return "float32" if image.mode == "F" else "uint16" if image.mode == "I" or wide else "uint8"
    return "uint8"


def refuse_loss(image: ImageFile.ImageFile, dtype: str, path: Path) -> None:
    """Raise InputError for an image that has no mode in `CONVERTED_MODES`, or whose numbers Pillow would change."""
    tags = image.tag_v2 if image.format == "TIFF" else {}  # type: ignore[attr-defined]
    kind = ""
    if image.mode not in CONVERTED_MODES or dtype == "int8":
        kind = f"mode {image.mode} of {dtype}"
    elif dtype != "uint8" and (image.mode in ("LA", "RGBA", "CMYK") or image.has_transparency_data):
        kind = f"{dtype} with transparency or in mode {image.mode}"
    elif dtype != "uint8" and tags.get(PHOTOMETRIC) == WHITE_IS_ZERO:
        kind = f"{dtype} where 0 is white"
    elif dtype == "uint16" and image.mode == "RGB" and (image.format == "PPM" or tags.get(PLANES, 1) != INTERLEAVED):
        kind = f"{dtype} colour in {image.format}" + (" by planes" if tags else "")
    if kind:
        raise InputError(
            f"{shown_path(path)} must be grey or colour of 8 or 16 bits a channel, or grey floats, got {kind}. Convert "
            "it, or pass arrays in .npy."
        )


def read_16_bit_colour(image: ImageFile.ImageFile, path: Path) -> np.ndarray:
    """(h, w, 3) int32: Pillow gives the high bytes of the numbers, and the low ones if told the other byte order."""
    import numpy as np

    halves = []
    for swapped in (False, True):
        with path.open("rb") as file:
            again = open_image(file, path)
            if image.format == "TIFF":
                again.seek(image.tell())
            if swapped:
                again.tile = [tile._replace(args=swap_byte_order(tile.args)) for tile in again.tile]
            halves.append(np.asarray(upright(again), np.int32))
    return halves[0] * 256 + halves[1]


def swap_byte_order(decoder: Any) -> Any:
    """The arguments of a decoder of 16-bit numbers, for numbers of the other byte order.

    >>> swap_byte_order("RGB;16B"), swap_byte_order(("RGB;16L", 0, 1))
    ('RGB;16L', ('RGB;16B', 0, 1))
    """
    if isinstance(decoder, tuple):
        return (swap_byte_order(decoder[0]), *decoder[1:])
    native = "L" if sys.byteorder == "little" else "B"
    order = decoder[-1].replace("N", native)
    return decoder[:-1] + {"L": "B", "B": "L"}[order]


def upright(image: Image.Image) -> Image.Image:
    """The image as its EXIF data say that it is to be seen."""
    from PIL import ImageOps

    return ImageOps.exif_transpose(image)


def on_white(image: Image.Image) -> Image.Image:
    """The image, on white if it is transparent."""
    from PIL import Image

    if not image.has_transparency_data:
        return image
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
