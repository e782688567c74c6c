"""The options that say how images are read, and what of an image does not fit a model."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from isthmus.data.image_options import ImageOptions
from isthmus.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from isthmus.cli.parser import Parser
    from isthmus.schema import Schema


def add_image_options(parser: Parser) -> None:
    """Add the options that say how images are read."""
    group = parser.add_argument_group("image files")
    group.add_argument("--size", metavar="N|WxH", help="resize each image to N x N pixels, or to a width and a height")
    group.add_argument(
        "--crop",
        action="store_true",
        default=None,
        help="cut each image about its centre to the aspect ratio of --size, or to a square, before it is resized",
    )
    group.add_argument("--mode", metavar="rgb|grey", help="convert each image to colour or to greys")


def image_options(
    args: argparse.Namespace, source: dict[str, Any] | None = None, schema: Schema | None = None
) -> ImageOptions:
    """How images are read: as the arguments say, and else as those of a run were.

    Args:
        args: of the command.
        source: that of the run.
        schema: that of its model: where it reads bytes, --mode makes bytes of images of 16 bits.
    """
    given = {name: value for name in ("size", "crop", "mode") if (value := getattr(args, name)) is not None}
    to_bytes = {"to_bytes": True} if schema is not None and schema.dtype == "uint8" and args.mode is not None else {}
    return ImageOptions.of_run({**(source or {}), **given, **to_bytes}, remembered=not given)


def check_images(x: np.ndarray, read_as: ImageOptions, schema: Schema, name: str) -> None:
    """Raise InputError for images of another size, mode or depth than a model reads, with the options that help."""
    if not schema.image:
        raise InputError(f"DATA must have rows of shape {schema.event_shape} as in training, got the images of {name}.")
    shape, expected = x.shape[1:], schema.event_shape
    bits = schema.kind == "levels" and x.max(initial=0) <= 1 and read_as.mode is None
    if schema.kind == "binary" and not schema.binarize and x.max(initial=0) > 1:
        raise InputError(
            f"images must have one bit a pixel as in training, got up to {x.max():g} in {name}. Convert them."
        )
    if str(x.dtype) != schema.dtype:
        raise InputError(
            f"images must hold {schema.dtype} as in training, got {x.dtype} in {name}. "
            f"{depth_advice(str(x.dtype), read_as, schema, name)}."
        )
    options = ImageOptions.parse(
        size=None if shape[:2] == expected[:2] else (expected[1], expected[0]),
        mode=None if shape[2:] == expected[2:] and not bits else "rgb" if len(expected) > 2 else "grey",
    )
    if options.options():
        got = "bits" if bits else shape
        raise InputError(f"images must have shape {expected} as in training, got {got} in {name}. {options.advice()}.")


def depth_advice(dtype: str, read_as: ImageOptions, schema: Schema, name: str) -> str:
    """What to do with images whose numbers are of another type than a model reads.

    Args:
        dtype: of the numbers in the images.
        read_as: how they were read.
        schema: that of the model.
        name: of the data.
    """
    if (dtype, schema.dtype) == ("uint16", "uint8"):
        return f"Pass --mode {'rgb' if len(schema.event_shape) > 2 else 'grey'}, which makes bytes of them"
    if (dtype, schema.dtype) == ("uint8", "uint16"):  # 255 becomes 65535
        array = f"isthmus.read({', '.join([repr(name), *read_as.keywords()])}).train.x.astype('uint16') * 257"
        return f"Pass an array of as many bits: numpy.save('x.npy', {array})"
    return "Convert them, or pass an array in .npy"
