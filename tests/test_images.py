"""Image files: one or many, of any size, mode and depth, in and out."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import isthmus
from broken_images import encoded, png, png_of, tiff
from isthmus.array_checks import looks_channels_first, rearrangement
from isthmus.cli import diagnose
from isthmus.cli.common import load_run
from isthmus.cli.main import main
from isthmus.data import ImageOptions, read
from isthmus.data.sources import read_raw
from isthmus.diagnosis.context import DiagnosisContext, RunRef
from isthmus.errors import InputError
from isthmus.export import png_names, write_pngs
from isthmus.schema import Schema
from models import images, small, without_page, without_slow_measures

RANDOM = np.random.default_rng(0)
GREY = RANDOM.integers(0, 256, (9, 8), dtype=np.uint8)
COLOUR = RANDOM.integers(0, 256, (9, 8, 3), dtype=np.uint8)
DEEP = RANDOM.integers(0, 2**16, (9, 8), dtype=np.uint16)
DEEP_COLOUR = RANDOM.integers(0, 2**16, (9, 8, 3), dtype=np.uint16)
FAST = ["--epochs", "2", "--hidden", "8", "--latent-dim", "2", "--random-state", "0", "--threads", "1"]


def write(path: Path, image: np.ndarray | bytes) -> Path:
    """An image file of an array, or of bytes as they are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(image, bytes):
        path.write_bytes(image)
    else:
        Image.fromarray(image).save(path)
    return path


def refusal(source: Path, *words: str, **options) -> str:
    """The message of the error that reading raises, one line with all of these words."""
    with pytest.raises(InputError) as caught:
        read(source, **options)
    message = str(caught.value)
    assert message.isprintable()
    assert [word for word in words if word not in message] == []
    return message


# ------------------------------------------------------------------ depth


def tiff_of(array: np.ndarray, tags: dict[int, int]) -> bytes:
    """A TIFF file of grey or colour numbers of any type."""
    form = {"u": 1, "i": 2, "f": 3}[array.dtype.kind]
    known = {258: 8 * array.itemsize, 277: array.shape[2] if array.ndim > 2 else 1, 339: form}
    known |= {262: 2 if array.ndim > 2 else 1} | tags
    return tiff(array.shape[1], array.shape[0], array.tobytes(), {tag: (3, value) for tag, value in known.items()})


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        ("grey.png", DEEP, DEEP),
        ("grey.tif", DEEP, DEEP),
        ("dark.png", DEEP % 300, DEEP % 300),
        ("colour.png", png_of(DEEP_COLOUR), DEEP_COLOUR),
        ("binary.pgm", b"P5 8 9 65535\n" + DEEP.astype(">u2").tobytes(), DEEP),
        ("signed.tif", tiff_of(DEEP.view(np.int16), {}), DEEP.view(np.int16)),
        ("floats.tif", RANDOM.normal(size=(9, 8)).astype(np.float32), None),
        ("integers.tif", RANDOM.integers(-(2**31), 2**31, (9, 8)).astype(np.int32), None),
    ],
)
def test_numbers_of_more_than_8_bits_keep_their_values(tmp_path, name, data, expected):
    part = read(write(tmp_path / name, data)).train
    expected = data if expected is None else expected
    np.testing.assert_array_equal(part.x[0], expected)
    assert part.x.dtype == expected.dtype


def test_16_bit_colour_of_tiff_keeps_its_values(tmp_path):
    # Three channels have as many entries of bits: they stand behind the pixels.
    data = tiff_of(DEEP_COLOUR, {258: 0})
    bits = np.array([16, 16, 16], "<u2").tobytes()
    entry = (258).to_bytes(2, "little") + (3).to_bytes(2, "little")
    place = data.index(entry)
    data = data[: place + 4] + (3).to_bytes(4, "little") + len(data).to_bytes(4, "little") + data[place + 12 :] + bits
    np.testing.assert_array_equal(read(write(tmp_path / "x.tif", data)).train.x[0], DEEP_COLOUR)


def test_deep_images_are_resized_and_converted_with_their_depth(tmp_path):
    write(tmp_path / "a/0.png", png_of(DEEP_COLOUR))
    write(tmp_path / "b/0.png", DEEP)
    write(tmp_path / "c/0.png", np.full((5, 4), 60_000, np.uint16))
    x = read(tmp_path, size=4, mode="rgb").train.x
    assert (x.shape, x.dtype) == ((3, 4, 4, 3), np.uint16)
    assert (x[2] == 60_000).all()
    greys = read(tmp_path / "a", mode="grey").train.x[0]
    np.testing.assert_allclose(greys, DEEP_COLOUR @ [0.299, 0.587, 0.114], atol=1)


@pytest.mark.parametrize(
    ("name", "data", "word"),
    [
        ("alpha.png", png_of(RANDOM.integers(0, 2**16, (9, 8, 2), dtype=np.uint16)), "transparency"),
        ("alpha.png", png_of(RANDOM.integers(0, 2**16, (9, 8, 4), dtype=np.uint16)), "transparency"),
        ("colour.ppm", b"P6 8 9 65535\n" + DEEP_COLOUR.astype(">u2").tobytes(), "colour in PPM"),
        ("inverted.tif", tiff_of(DEEP, {262: 0}), "0 is white"),
        ("signed.tif", tiff_of(GREY.view(np.int8), {}), "int8"),
        ("unsigned.tif", tiff_of(np.full((9, 8), 2**31, np.uint32), {}), "below 2,147,483,648"),
        ("lab.tif", encoded(COLOUR, "TIFF", "LAB"), "mode LAB"),
        ("doubles.tif", tiff_of(np.ones((9, 8)), {}), "rare kind"),
    ],
)
def test_images_that_would_lose_numbers_are_refused(tmp_path, name, data, word):
    refusal(write(tmp_path / name, data), name, word)


def test_depths_are_not_mixed(tmp_path):
    write(tmp_path / "0.png", GREY)
    write(tmp_path / "1.png", DEEP)
    refusal(tmp_path, "number of bits", "8 x 9 16-bit grey", "1.png", "8 x 9 grey", "0.png", "Pass --mode grey")


def test_a_mode_makes_bytes_of_unlike_depths_also_where_the_run_is_used(tmp_path):
    write(tmp_path / "a/0.png", GREY)
    write(tmp_path / "a/1.png", DEEP)
    dataset = read(tmp_path / "a", mode="grey")
    np.testing.assert_array_equal(dataset.train.x, np.stack([GREY, np.round(DEEP / 257)]))
    assert dataset.train.x.dtype == np.uint8
    write(tmp_path / "b/0.png", DEEP)
    assert read(tmp_path / "b", mode="grey").train.x.dtype == np.uint16  # alone they keep their bits
    of_run = ImageOptions.of_run(dataset.images.to_config())
    np.testing.assert_array_equal(read_raw(tmp_path / "b", images=of_run).train.x[0], np.round(DEEP / 257))


# ------------------------------------------------------------------ size and mode


def test_an_image_is_cut_about_its_centre(tmp_path):
    path = write(tmp_path / "x.png", COLOUR)
    np.testing.assert_array_equal(read(path, crop=True).train.x[0], COLOUR[:8])
    np.testing.assert_array_equal(read(path, size="8x5", crop=True).train.x[0], COLOUR[2:7])
    np.testing.assert_array_equal(read(path, size=8, crop=True).train.x.shape, (1, 8, 8, 3))


def test_images_are_stretched_without_crop(tmp_path):
    path = write(tmp_path / "x.png", np.repeat(GREY, 2, axis=1))
    np.testing.assert_array_equal(read(path, size=(8, 9)).train.x.shape, (1, 9, 8))
    halves = np.zeros((4, 8), np.uint8)
    halves[:, 4:] = 200
    (x,) = read(write(tmp_path / "y.png", halves), size=4).train.x
    assert x[:, 0].max() == 0
    assert x[:, -1].min() == 200


def test_a_photo_is_the_mean_of_its_pixels_at_any_resolution(tmp_path):
    ramp = np.linspace(20, 220, 1600).astype(np.uint8)[None].repeat(1200, 0)
    Image.fromarray(ramp).save(tmp_path / "x.jpg", quality=95)
    (x,) = read(tmp_path / "x.jpg", size=16).train.x
    np.testing.assert_allclose(x, np.linspace(20, 220, 33)[1::2][None].repeat(16, 0), atol=2)


@pytest.mark.parametrize(("mode", "shape"), [("grey", (9, 8)), ("rgb", (9, 8, 3))])
def test_modes_are_converted(tmp_path, mode, shape):
    for i, array in enumerate([GREY, COLOUR, GREY > 99, np.dstack([COLOUR, GREY])]):
        write(tmp_path / f"{i}.png", array)
    Image.fromarray(COLOUR).convert("CMYK").save(tmp_path / "4.tif")
    x = read(tmp_path, mode=mode).train.x
    assert (x.shape, x.dtype) == ((5, *shape), np.uint8)
    np.testing.assert_array_equal(x[2].reshape(9, 8, -1)[..., 0], np.where(GREY > 99, 255, 0))


@pytest.mark.parametrize(
    ("arrays", "offer"),
    [
        ([GREY, GREY[:5]], "--size 5"),
        ([GREY.repeat(20, 0).repeat(20, 1), GREY.repeat(10, 0).repeat(10, 1)], "--size 64"),
        ([COLOUR, GREY], "--mode rgb"),
        ([GREY, GREY > 9], "--mode grey"),
        ([GREY[:7] > 9, COLOUR], "--size 7 --mode rgb"),
    ],
)
def test_what_the_error_offers_reads_the_images(tmp_path, arrays, offer):
    for i, array in enumerate(arrays):
        write(tmp_path / f"train/{i}.png", array)
    write(tmp_path / "test/0.png", arrays[-1])
    message = refusal(tmp_path, f"Pass {offer} (in Python, isthmus.read(")
    options = eval(f"dict({re.search(r'read[(]..., ([^)]*)', message)[1]})")
    data = read(tmp_path, **options)
    assert len(data.train) == 2
    assert data.test.x.shape[1:] == data.train.x.shape[1:]


def test_parts_of_one_bit_and_of_bytes_are_not_mixed(tmp_path):
    write(tmp_path / "train/0.png", GREY)
    write(tmp_path / "test/0.png", GREY > 9)
    refusal(tmp_path, "one-bit", "--mode grey")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"size": 0}, ("size must be", "64x48", "got 0")),
        ({"size": "big"}, ("size must be", "'big'")),
        ({"size": (8, 8, 8)}, ("size must be",)),
        ({"size": 10**6}, ("at most 134,217,728 pixels",)),
        ({"mode": "gray"}, ("mode must be one of grey, rgb", "Did you mean 'grey'?")),
        ({"crop": "yes"}, ("crop must be True or False",)),
    ],
)
def test_options_that_cannot_be_used(tmp_path, options, words):
    refusal(write(tmp_path / "x.png", GREY), *words, **options)


def test_options_of_images_are_for_images(tmp_path):
    np.save(tmp_path / "x.npy", GREY)
    refusal(tmp_path / "x.npy", "--size", "image files", size=4)
    refusal(Path("digits"), "--mode", "image files", mode="rgb")


# ------------------------------------------------------------------ files


def test_one_file_is_one_row_and_a_stack_several(tmp_path):
    data = read(write(tmp_path / "a/cat.png", GREY))
    np.testing.assert_array_equal(data.train.x, GREY[None])
    assert (data.train.y, data.train.ids.tolist()) == (None, ["cat.png"])
    frames = [Image.fromarray(image) for image in (DEEP, DEEP.T[:8].T, DEEP // 2)]
    frames[0].save(tmp_path / "cells.tif", save_all=True, append_images=frames[1:])
    stack = read(tmp_path / "cells.tif").train
    np.testing.assert_array_equal(stack.x[2], DEEP // 2)
    assert stack.ids.tolist() == ["cells-0.tif", "cells-1.tif", "cells-2.tif"]


def test_rows_are_named_by_their_files(tmp_path):
    for name in ("train/b/1.png", "train/a/2.png", "test/a/0.png"):
        write(tmp_path / name, GREY)
    data = read(tmp_path)
    assert data.train.ids.tolist() == ["train/a/2.png", "train/b/1.png"]
    assert data.select("all").ids.tolist() == ["train/a/2.png", "train/b/1.png", "test/a/0.png"]
    assert data.train.take(np.array([1])).ids.tolist() == ["train/b/1.png"]


def test_smaller_versions_and_masks_in_a_file_are_no_images(tmp_path):
    small_one = Image.fromarray(GREY[:4, :4])
    small_one.encoderinfo = {"tiffinfo": {254: 1}}
    Image.fromarray(GREY).save(tmp_path / "x.tif", save_all=True, append_images=[small_one])
    assert len(read(tmp_path, size=4).train) == 1


def test_a_small_file_of_very_many_pixels_is_refused_before_it_is_decoded(tmp_path):
    refusal(write(tmp_path / "x.png", png(12_000, 12_000, 8, 0, b"")), "at most 134,217,728 pixels")


@pytest.mark.parametrize("name", [b"a\nb.png", b"\x1b[31m.png", b"\xff.png"])
def test_any_name_of_a_file_can_be_printed_and_written(tmp_path, name):
    path = write(Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)), GREY)
    assert read(tmp_path).train.ids[0].encode("utf-8").endswith(b".png")
    write(path, b"no image")
    refusal(tmp_path, "cannot read")


@pytest.mark.parametrize("name", [b"a\nb", b"\xff"])
def test_labels_are_printable(tmp_path, name):
    write(Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name + b"/x.png")), GREY)
    refusal(tmp_path, "folders that are labels must have printable names")


# ------------------------------------------------------------------ the command line


def run(capsys, *argv: object) -> tuple[int, str]:
    """Exit code, and all that a command prints."""
    code = main([str(word) for word in argv])
    return code, "".join(capsys.readouterr())


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    """Photos of varied size and mode, in two classes."""
    folder = tmp_path_factory.mktemp("photos")
    for i, photo in enumerate(images(24, (30, 25))):
        mode = "L" if i % 3 else "RGB"
        cut = Image.fromarray(photo).crop((0, 0, 20 + i % 5, 22 + i % 7)).convert(mode)
        path = folder / "ab"[i % 2] / f"photo {i:02}.{'jpg' if i % 4 else 'png'}"
        path.parent.mkdir(exist_ok=True)
        cut.save(path)
    return folder


@pytest.fixture(scope="module")
def trained(photos, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "photos"
    with pytest.MonkeyPatch.context() as patch:
        without_slow_measures(patch)
        without_page(patch)
        argv = ["fit", "vae", photos, "--size", "8x6", "--crop", "--mode", "rgb", "-o", folder, *FAST]
        assert main(list(map(str, argv))) == 0
    return folder


def test_a_run_reads_new_photos_as_those_it_was_trained_on(trained, photos, tmp_path, capsys):
    kept = json.loads((trained / "config.json").read_text())["source"]
    assert (kept["size"], kept["crop"], kept["mode"]) == ([8, 6], True, "rgb")
    photo = write(tmp_path / "new/one.png", images(1, (40, 60))[0])
    for data, n in ((photo, 1), (photos, 24)):
        assert run(capsys, "encode", trained, data, "-o", tmp_path / "z.npz", "--force")[0] == 0
        assert len(np.load(tmp_path / "z.npz")["z"]) == n
    expected = isthmus.load(trained).transform(read(photos, size="8x6", crop=True, mode="rgb").train.x)
    np.testing.assert_array_equal(np.load(tmp_path / "z.npz")["z"], expected)


def test_other_data_need_not_be_images_for_a_run_that_was(trained, tmp_path, capsys):
    np.save(tmp_path / "x.npy", np.zeros((3, 6, 8, 3), np.uint8))
    assert run(capsys, "encode", trained, tmp_path / "x.npy", "-o", tmp_path / "z.npz")[0] == 0


@pytest.mark.parametrize(
    ("image", "options", "words"),
    [
        (COLOUR, ["--size", "9"], ("(6, 8, 3)", "(9, 9, 3)", "Pass --size 8x6 (")),
        (COLOUR, ["--size", "9", "--mode", "grey"], ("Pass --size 8x6 --mode rgb (",)),
        (DEEP, [], ("uint8 as in training", "uint16", "Pass --mode rgb, which")),
    ],
)
def test_images_unlike_those_of_training_are_refused(trained, tmp_path, capsys, image, options, words):
    write(tmp_path / "x.png", image)
    code, text = run(capsys, "encode", trained, tmp_path / "x.png", "-o", tmp_path / "z.npz", *options)
    assert (code, len(text.splitlines())) == (2, 1)
    assert [word for word in words if word not in text] == []


def test_bits_are_no_greys_to_a_run(tmp_path, capsys, monkeypatch):
    without_slow_measures(monkeypatch)
    without_page(monkeypatch)
    for i, image in enumerate(images(12, (9, 8))):
        write(tmp_path / f"greys/{i}.png", image)
    assert run(capsys, "fit", "autoencoder", tmp_path / "greys", "-o", tmp_path / "run", *FAST)[0] == 0
    write(tmp_path / "x.png", GREY > 99)
    encode = ["encode", tmp_path / "run", tmp_path / "x.png", "-o", tmp_path / "z.npz"]
    code, text = run(capsys, *encode)
    assert code == 2
    assert "got bits" in text
    assert "--mode grey" in text
    assert run(capsys, *encode, "--mode", "grey")[0] == 0


def test_images_of_another_depth_are_told_the_line_that_helps(tmp_path, capsys, monkeypatch):
    without_slow_measures(monkeypatch)
    without_page(monkeypatch)
    monkeypatch.chdir(tmp_path)
    for i, image in enumerate(images(12, (9, 8))):
        write(tmp_path / f"bytes/{i}.png", image)
        write(tmp_path / f"deep/{i}.png", image.astype(np.uint16) * 257)
    for name, likelihood in (("bytes", "auto"), ("deep", "normal")):
        argv = ["fit", "autoencoder", name, "-o", f"of {name}", "--likelihood", likelihood, *FAST]
        assert run(capsys, *argv)[0] == 0
    assert run(capsys, "encode", "of bytes", "bytes", "-o", "a.npz")[0] == 0
    code, text = run(capsys, "encode", "of bytes", "deep", "-o", "b.npz")
    assert (code, len(text.splitlines())) == (2, 1)
    assert "got uint16 in deep. Pass --mode grey, which makes bytes of them." in text
    assert run(capsys, "encode", "of bytes", "deep", "-o", "b.npz", "--mode", "grey")[0] == 0
    np.testing.assert_array_equal(np.load("b.npz")["z"], np.load("a.npz")["z"])
    assert run(capsys, "fit", "--continue", "of bytes", "deep", "--mode", "grey", "-o", "on", "--epochs", "1")[0] == 0
    assert run(capsys, "evaluate", "on", "--draws", "2")[0] == 0  # which reads them in the same way
    assert run(capsys, "encode", "of deep", "deep", "-o", "c.npz")[0] == 0
    code, text = run(capsys, "encode", "of deep", "bytes", "-o", "d.npz")
    assert (code, len(text.splitlines())) == (2, 1)
    line = "numpy.save('x.npy', isthmus.read('bytes').train.x.astype('uint16') * 257)"
    assert f"got uint8 in bytes. Pass an array of as many bits: {line}." in text
    exec(line, {"numpy": np, "isthmus": isthmus})
    assert run(capsys, "encode", "of deep", "x.npy", "-o", "d.npz")[0] == 0
    np.testing.assert_array_equal(np.load("d.npz")["z"], np.load("c.npz")["z"])


def test_a_run_goes_on_with_images_brought_to_its_size(tmp_path, capsys, monkeypatch):
    without_slow_measures(monkeypatch)
    without_page(monkeypatch)
    for folder, shape in (("small", (9, 8)), ("large", (12, 16))):
        for i, image in enumerate(images(12, shape)):
            write(tmp_path / folder / f"{i}.png", image)
    assert run(capsys, "fit", "autoencoder", tmp_path / "small", "-o", tmp_path / "run", *FAST)[0] == 0
    go_on = ["fit", "--continue", tmp_path / "run", tmp_path / "large", "--epochs", "1", "-q", "-o", tmp_path / "new"]
    code, text = run(capsys, *go_on)
    assert (code, len(text.splitlines())) == (2, 1)
    assert "Pass --size 8x9 (" in text
    assert run(capsys, *go_on, "--size", "8x9")[0] == 0
    code, text = run(capsys, "fit", "--continue", tmp_path / "run", "--size", "4", "-o", tmp_path / "other")
    assert code == 2
    assert "Pass --size 8x9 (" in text


def test_all_images_that_cannot_be_read_are_named(tmp_path, capsys):
    for i, image in enumerate(images(9, (9, 8))):
        write(tmp_path / f"photos/{i}.png", image if i in (0, 4) else b"no image")
    names = "1.png, 2.png, 3.png, 5.png, 6.png and 2 more"
    for words in ([], ["--mode", "grey"]):
        code, text = run(capsys, "check", tmp_path / "photos", *words)
        assert (code, len(text.splitlines())) == (2, 1)
        assert f"7 images of {tmp_path / 'photos'} cannot be read: {names}. For example: cannot read " in text
    for i in (2, 3, 5, 6, 7, 8):
        (tmp_path / f"photos/{i}.png").unlink()
    message = refusal(tmp_path / "photos", "cannot read", "1.png")
    assert message == refusal(tmp_path / "photos/1.png")


@pytest.mark.parametrize("command", [["fit", "vae"], ["compare"]])
def test_one_image_is_not_enough_to_train_on(tmp_path, capsys, command):
    write(tmp_path / "x.png", GREY)
    code, text = run(capsys, *command, tmp_path / "x.png", "-o", tmp_path / "out")
    assert code == 2
    assert "more than one image" in text
    assert not (tmp_path / "out").exists()


def test_remedies_say_how_the_images_were_read(trained, photos):
    loaded = load_run(diagnose.build_parser([]).parse_args([str(trained)]))
    command = RunRef("again", loaded.data, loaded.roles, loaded.options)
    remedy = DiagnosisContext(loaded.model, command=command).retrain(beta=2.0)
    assert f"isthmus fit vae {photos} -o again-2 --size 8x6 --crop --mode rgb " in remedy


# ------------------------------------------------------------------ one file for each row


def test_reconstructions_are_named_as_the_photos(trained, photos, tmp_path, capsys):
    code, text = run(capsys, "reconstruct", trained, photos, "-o", f"{tmp_path}/out/")
    assert (code, "24 x 6 x 8 x 3" in text) == (0, True)
    expected = {path.relative_to(photos).with_suffix(".png") for path in photos.rglob("*.*")}
    written = {path.relative_to(tmp_path / "out"): path for path in (tmp_path / "out").rglob("*.*")}
    assert set(written) == expected
    x = isthmus.load(trained).reconstruct(read(photos, size="8x6", crop=True, mode="rgb").train.x)
    pictures = np.stack([np.asarray(Image.open(written[path])) for path in sorted(written)])
    np.testing.assert_array_equal(pictures, np.rint(x))


def test_samples_get_numbers_and_nothing_is_overwritten(trained, photos, tmp_path, capsys):
    sample = ["sample", trained, "-n", "11", "-o", f"{tmp_path}/out/"]
    assert run(capsys, *sample)[0] == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [f"{i:02}.png" for i in range(11)]
    code, text = run(capsys, *sample)
    assert (code, "not an empty folder" in text) == (2, True)
    copy = shutil.copytree(photos, tmp_path / "copy")
    code, text = run(capsys, "reconstruct", trained, copy, "-o", f"{copy}/out/")
    assert (code, "inside the data" in text) == (2, True)
    assert not (copy / "out").exists()


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_written_images_are_read_as_they_were(tmp_path, dtype):
    x = RANDOM.integers(0, np.iinfo(dtype).max, (3, 9, 8), dtype=dtype)
    levels = {"kind": "levels", "levels": 256, "scale": np.asarray(255.0)} if dtype == "uint8" else {"kind": "counts"}
    write_pngs(tmp_path / "out", x, Schema.homogeneous((9, 8), dtype=dtype, **levels))
    np.testing.assert_array_equal(read(tmp_path / "out").train.x, x)


@pytest.mark.parametrize("names", [["a", "a"], ["../a", "b"], ["/a", "b"], ["a\0", "b"], ["a.png", "a"]])
def test_names_that_are_no_files_of_the_folder_are_refused(tmp_path, names):
    schema = Schema.homogeneous((9, 8), "levels", "uint8", levels=256, scale=np.asarray(255.0))
    ids = names if names != ["a.png", "a"] else ["a.png", "a.png"]
    with pytest.raises(InputError, match="must differ"):
        write_pngs(tmp_path / "out", np.stack([GREY] * 2), schema, ids)
    assert list(tmp_path.iterdir()) == []


def test_ids_of_tables_keep_what_looks_like_a_suffix():
    assert png_names(["v1.0", "v1.1"], 2) == ["v1.0.png", "v1.1.png"]


# ------------------------------------------------------------------ arrays with channels elsewhere


@pytest.mark.parametrize(
    ("shape", "trained_on"),
    [
        ((1, 6, 5), (6, 5)),
        ((6, 5, 1), (6, 5)),
        ((6, 5), (6, 5, 1)),
        ((6, 5), (1, 6, 5)),
        ((3, 6, 5), (6, 5, 3)),
        ((6, 5, 3), (3, 6, 5)),
        ((6, 5), (30,)),
        ((30,), (6, 5)),
        ((90,), (6, 5, 3)),
    ],
)
@pytest.mark.parametrize("as_tensor", [False, True])
def test_rows_arranged_otherwise_get_the_line_that_rearranges_them(shape, trained_on, as_tensor):
    import torch

    rows = np.arange(4 * np.prod(shape), dtype=np.float32).reshape(4, *shape)
    model = small("Autoencoder", epochs=1).fit(RANDOM.random((12, *trained_on)))
    X = torch.as_tensor(rows) if as_tensor else rows
    with pytest.raises(InputError, match=r"Pass X[.\[]") as caught:
        model.transform(X)
    fixed = eval(re.search(r"Pass (X.*)\.$", str(caught.value))[1], {"X": X})
    assert model.transform(fixed).shape == (4, 3)


@pytest.mark.parametrize("shape", [(28, 29), (6, 5, 2), (5,)])
def test_rows_of_other_images_get_no_such_line(shape):
    assert rearrangement(shape, (6, 5)) == ""


@pytest.mark.parametrize(
    ("shape", "first"),
    [
        *[((9, 1, 28, 28), True), ((9, 3, 32, 32), True), ((9, 4, 16, 16), True), ((9, 2, 8, 9), True)],
        *[((9, 32, 32, 3), False), ((9, 28, 28), False), ((9, 3, 3, 3), False), ((9, 16, 16, 16), False)],
    ],
)
def test_channels_that_come_first_are_told_by_their_number(shape, first):
    assert looks_channels_first(shape) == first
