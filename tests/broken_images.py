"""A seeded generator of files that are odd, damaged or hostile, by kind: what reads them must read or refuse them.

A maker writes one odd thing into a folder and is registered in the table of its kind. To add a kind, add a table.
"""

from __future__ import annotations

import contextlib
import io
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

Maker = Callable[[Path, np.random.Generator], object]

IMAGES: dict[str, Maker] = {}
"""Makers of image files and of what else is found in folders of images."""


def maker(table: dict[str, Maker]) -> Callable[[Maker], Maker]:
    """Register a function under its name."""

    def register(function: Maker) -> Maker:
        table[function.__name__] = function
        return function

    return register


def pixels(rng: np.random.Generator, *shape: int, dtype: str = "uint8") -> np.ndarray:
    return rng.integers(0, np.iinfo(dtype).max, shape or (9, 8), dtype=dtype, endpoint=True)


def encoded(array: np.ndarray, form: str, mode: str | None = None, **options) -> bytes:
    """An image as the bytes of a file of this format."""
    file = io.BytesIO()
    image = Image.fromarray(array) if mode is None else Image.fromarray(array).convert(mode)
    image.save(file, form, **options)
    return file.getvalue()


FORMATS = {".png": "PNG", ".jpg": "JPEG", ".bmp": "BMP", ".gif": "GIF", ".tif": "TIFF", ".webp": "WEBP", ".ppm": "PPM"}


def any_image(rng: np.random.Generator) -> tuple[str, bytes]:
    """The suffix and the bytes of a good file of a random format."""
    suffix = str(rng.choice(list(FORMATS)))
    return suffix, encoded(pixels(rng, 9, 8, 3), FORMATS[suffix])


def chunk(name: bytes, data: bytes) -> bytes:
    """A chunk of a PNG file."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width: int, height: int, depth: int, colour: int, rows: bytes, *chunks: bytes) -> bytes:
    """A PNG file of any declared size, of these rows (each with its filter), with more chunks before them."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = [chunk(b"IHDR", header), *chunks, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


def png_of(array: np.ndarray, *chunks: bytes) -> bytes:
    """A PNG file of (h, w, c) bytes or 16-bit numbers."""
    height, width, channels = array.shape
    depth = 8 * array.itemsize
    rows = b"".join(b"\0" + row.astype(f">u{array.itemsize}").tobytes() for row in array)
    return png(width, height, depth, {1: 0, 2: 4, 3: 2, 4: 6}[channels], rows, *chunks)


def tiff(width: int, height: int, data: bytes, tags: dict[int, tuple[int, int]], more: int = 0) -> bytes:
    """A little-endian TIFF file of one strip, with tags as (type, value); `more` is the place of the next frame."""
    known = {256: (4, width), 257: (4, height), 258: (3, 8), 259: (3, 1), 262: (3, 1), 273: (4, 8), 277: (3, 1)}
    known |= {278: (4, height), 279: (4, len(data))}
    known |= tags
    entries = b"".join(struct.pack("<HHII", tag, *known[tag][:1], 1, known[tag][1]) for tag in sorted(known))
    start = 8 + len(data) + len(data) % 2
    head = b"II*\0" + struct.pack("<I", start) + data + b"\0" * (len(data) % 2)
    return head + struct.pack("<H", len(known)) + entries + struct.pack("<I", more)


# ------------------------------------------------------------------ damage


@maker(IMAGES)
def truncated(folder: Path, rng: np.random.Generator) -> None:
    suffix, data = any_image(rng)
    (folder / f"x{suffix}").write_bytes(data[: int(rng.integers(0, len(data)))])


@maker(IMAGES)
def bytes_changed(folder: Path, rng: np.random.Generator) -> None:
    suffix, data = any_image(rng)
    changed = bytearray(data)
    for place in rng.integers(0, len(changed), rng.integers(1, 20)):
        changed[place] = rng.integers(0, 256)
    (folder / f"x{suffix}").write_bytes(bytes(changed))


@maker(IMAGES)
def bytes_moved(folder: Path, rng: np.random.Generator) -> None:
    suffix, data = any_image(rng)
    start, length = (int(n) for n in rng.integers(0, len(data), 2))
    (folder / f"x{suffix}").write_bytes(data[:start] + data[start + length % 40 :] + data[:length])


@maker(IMAGES)
def another_suffix(folder: Path, rng: np.random.Generator) -> None:
    _, data = any_image(rng)
    (folder / f"x{rng.choice(list(FORMATS))}").write_bytes(data)


@maker(IMAGES)
def noise(folder: Path, rng: np.random.Generator) -> None:
    signatures = [b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\0", b"GIF89a", b"BM", b"P5 ", b"RIFF____WEBP"]
    data = signatures[rng.integers(len(signatures))] + rng.bytes(int(rng.integers(0, 300)))
    (folder / f"x{rng.choice(list(FORMATS))}").write_bytes(data)


@maker(IMAGES)
def empty(folder: Path, rng: np.random.Generator) -> None:
    (folder / f"x{rng.choice(list(FORMATS))}").write_bytes(b"")


@maker(IMAGES)
def document(folder: Path, rng: np.random.Generator) -> None:
    texts = [b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n", b"%PDF-1.4\n", b"<svg/>"]
    (folder / f"x{rng.choice(list(FORMATS))}").write_bytes(texts[rng.integers(len(texts))])


# ------------------------------------------------------------------ unusual, and right


@maker(IMAGES)
def unusual_mode(folder: Path, rng: np.random.Generator) -> None:
    mode = str(rng.choice(["1", "L", "LA", "P", "PA", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "I", "F", "I;16"]))
    suffix = str(rng.choice(list(FORMATS)))
    image = Image.fromarray(pixels(rng, 9, 8, 3)).convert("L" if mode == "I;16" else "RGBA").convert(mode)
    with contextlib.suppress(OSError, KeyError, ValueError):  # not every format has every mode
        image.save(folder / f"x{suffix}", FORMATS[suffix])


@maker(IMAGES)
def transparent_palette(folder: Path, rng: np.random.Generator) -> None:
    image = Image.fromarray(pixels(rng, 9, 8, 3)).quantize(int(rng.integers(2, 256)))
    transparency = int(rng.integers(0, 300)) if rng.random() < 0.5 else rng.bytes(int(rng.integers(1, 9)))
    with contextlib.suppress(OSError, ValueError, SystemError, struct.error):
        image.save(folder / "x.png", transparency=transparency)


@maker(IMAGES)
def sixteen_bits(folder: Path, rng: np.random.Generator) -> None:
    array = pixels(rng, 9, 8, int(rng.integers(1, 5)), dtype="uint16")
    transparency = [chunk(b"tRNS", rng.bytes(int(rng.integers(0, 8))))] if rng.random() < 0.3 else []
    (folder / "x.png").write_bytes(png_of(array, *transparency))


@maker(IMAGES)
def few_bits(folder: Path, rng: np.random.Generator) -> None:
    depth, colour = int(rng.choice([1, 2, 4, 8, 16, 3])), int(rng.choice([0, 2, 3, 4, 6, 1]))
    palette = [chunk(b"PLTE", rng.bytes(3 * int(rng.integers(0, 20))))] if rng.random() < 0.7 else []
    (folder / "x.png").write_bytes(png(8, 9, depth, colour, b"\0" * int(rng.integers(1, 600)), *palette))


@maker(IMAGES)
def tiff_of_any_tags(folder: Path, rng: np.random.Generator) -> None:
    choices = {
        258: [1, 8, 12, 16, 24, 32, 64],
        259: [1, 5, 7, 8, 32773, 34712, 9999],
        262: [0, 1, 2, 3, 5, 6, 8, 32803],
        277: [1, 3, 4, 0, 60000],
        284: [1, 2],
        339: [1, 2, 3, 4, 6],
        254: [0, 1, 4],
        274: [1, 3, 6, 8, 99],
        278: [1, 9, 0, 2**32 - 1],
        273: [8, 0, 2**31],
    }
    tags = {tag: (3 if max(values) < 2**16 else 4, int(rng.choice(values))) for tag, values in choices.items()}
    kept = {tag: tags[tag] for tag in rng.choice(list(tags), int(rng.integers(0, 5)), replace=False)}
    (folder / "x.tif").write_bytes(tiff(8, 9, rng.bytes(8 * 9 * 4), kept, more=int(rng.choice([0, 0, 8, 300]))))


@maker(IMAGES)
def several_frames(folder: Path, rng: np.random.Generator) -> None:
    suffix = str(rng.choice([".tif", ".gif", ".png", ".webp"]))
    frames = [Image.fromarray(pixels(rng, 9, int(rng.choice([8, 8, 8, 5])))) for _ in range(rng.integers(1, 5))]
    with contextlib.suppress(OSError, ValueError, RuntimeError):  # not every format has frames of several sizes
        frames[0].save(folder / f"x{suffix}", FORMATS[suffix], save_all=True, append_images=frames[1:])


@maker(IMAGES)
def rotated(folder: Path, rng: np.random.Generator) -> None:
    exif = Image.Exif()
    exif[274] = int(rng.integers(0, 12))
    data = exif.tobytes() if rng.random() < 0.7 else rng.bytes(40)
    Image.fromarray(pixels(rng, 9, 8, 3)).save(folder / "x.jpg", exif=data)


@maker(IMAGES)
def portable(folder: Path, rng: np.random.Generator) -> None:
    kind, largest = (
        rng.choice(["P1", "P2", "P3", "P4", "P5", "P6", "Pf"]),
        rng.choice([1, 15, 255, 4095, 65535, 0, 70000]),
    )
    data = (
        rng.bytes(500) if kind in ("P4", "P5", "P6", "Pf") else b" ".join(b"%d" % n for n in rng.integers(0, 300, 300))
    )
    (folder / "x.ppm").write_bytes(f"{kind} 8 9 {'' if kind in ('P1', 'P4') else largest}\n".encode() + data)


# ------------------------------------------------------------------ larger than they look


@maker(IMAGES)
def huge_declared_size(folder: Path, rng: np.random.Generator) -> None:
    side = int(rng.choice([20_000, 60_000, 2**31 - 1]))
    files = {
        "x.png": png(side, side, 8, 2, b"\0" * 1000),
        "x.tif": tiff(side, side, b"\0" * 100, {}),
        "x.ppm": f"P6 {side} {side} 255\n".encode(),
        "x.bmp": b"BM" + struct.pack("<IHHIIiiHHIIiiII", 99, 0, 0, 54, 40, side, side, 1, 24, 0, 0, 0, 0, 0, 0),
        "x.gif": b"GIF89a" + struct.pack("<HH", side % 65536, side % 65536) + b"\0\0\0",
    }
    name = str(rng.choice(list(files)))
    (folder / name).write_bytes(files[name])


@maker(IMAGES)
def compressed_text(folder: Path, rng: np.random.Generator) -> None:
    text = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"0" * 3_000_000))
    (folder / "x.png").write_bytes(png_of(pixels(rng, 9, 8, 3), text))


# ------------------------------------------------------------------ names, links and what is no file


@maker(IMAGES)
def odd_name(folder: Path, rng: np.random.Generator) -> None:
    names = [
        b"a\nb.png",
        b"\x1b[31m.png",
        b"\xff\xfe.png",
        "ÄÖ 猫.PNG".encode(),
        b"-o.png",
        b" .png",
        b"a" * 240 + b".png",
    ]
    names += [b"label\n/x.png", b"l\xff/x.png", b"..x/x.png", b"x.png.d/x.png", b"$HOME/'\".png"]
    path = Path(os.fsdecode(os.fsencode(folder) + b"/" + names[rng.integers(len(names))]))
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(encoded(pixels(rng), "PNG") if rng.random() < 0.5 else b"no image")


@maker(IMAGES)
def link(folder: Path, rng: np.random.Generator) -> None:
    targets = [folder, folder / "nowhere", folder / "x.png", folder.parent, Path("/dev/zero"), Path("/dev/null")]
    (folder / str(rng.choice(["x.png", "sub"]))).symlink_to(targets[rng.integers(len(targets))])


@maker(IMAGES)
def links_from_each_folder_to_all(folder: Path, rng: np.random.Generator) -> None:
    names = "abcdef"[: rng.integers(2, 6)]
    for name in names:
        (folder / name).mkdir()
        (folder / name / "x.png").write_bytes(encoded(pixels(rng), "PNG"))
        for other in names:
            (folder / name / f"to {other}").symlink_to(folder / other)


@maker(IMAGES)
def pipe(folder: Path, rng: np.random.Generator) -> None:
    os.mkfifo(folder / f"x{rng.choice(list(FORMATS))}")


@maker(IMAGES)
def folder_named_as_image(folder: Path, rng: np.random.Generator) -> None:
    (folder / "x.png").mkdir()
    (folder / "x.png" / "y.png").write_bytes(encoded(pixels(rng), "PNG"))


@maker(IMAGES)
def mixed(folder: Path, rng: np.random.Generator) -> None:
    for i in range(int(rng.integers(2, 5))):
        shape = (*rng.integers(1, 12, 2), *([3] if rng.random() < 0.5 else []))
        suffix = str(rng.choice([".png", ".jpg", ".webp", ".tif"]))
        path = folder / str(rng.choice(["", "a", "b", "train", "test", "val"])) / f"{i}{suffix}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(encoded(pixels(rng, *shape), FORMATS[suffix]))


@maker(IMAGES)
def good(folder: Path, rng: np.random.Generator) -> None:
    suffix, data = any_image(rng)
    (folder / f"x{suffix}").write_bytes(data)


def make(table: dict[str, Maker], folder: Path, seed: int) -> str:
    """Let a maker of the table, another for each seed, write into the new folder; the maker's name."""
    names = sorted(table)
    name = names[seed % len(names)]
    folder.mkdir()
    table[name](folder, np.random.default_rng(seed))
    return name
