"""Odd, damaged and hostile input: each is read rightly or refused in one line, and never does anything else."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from broken_images import IMAGES, make
from fuzz_counts import counted
from isthmus.data import ImageOptions, read
from isthmus.errors import InputError

MAX_SECONDS = 20
"""Any input is read or refused in this time, also on a machine that is busy."""
MAX_MESSAGE = 600
"""Characters of an error that quotes two paths and says what to do."""
OPTIONS = ({}, {"size": 6}, {"size": (5, 7), "crop": True, "mode": "rgb"}, {"mode": "grey"})
FEW = settings(
    max_examples=25, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture
def in_time() -> Iterator[None]:
    """A test that hangs fails."""

    def hang(*_: object) -> None:
        pytest.fail("neither read nor refused in time")  # no Exception, which a reader might catch

    before = signal.signal(signal.SIGALRM, hang)
    signal.alarm(MAX_SECONDS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(autouse=True)
def _subnormal_numbers() -> None:
    """Hypothesis draws them, but training in the same process may have flushed them to zero."""
    torch.set_flush_denormal(False)


def check_refusal(error: InputError) -> None:
    """An error is one printable line that is not endless."""
    message = str(error)
    assert message.isprintable(), repr(message)
    assert len(message) <= MAX_MESSAGE


def read_or_refuse(folder: Path, seed: int) -> None:
    """Read one broken folder; what is read are images."""
    signal.alarm(MAX_SECONDS)
    make(IMAGES, folder, seed)
    try:
        rows = read(folder, **OPTIONS[seed // len(IMAGES) % len(OPTIONS)]).train
    except InputError as error:
        check_refusal(error)
        counted("refused")
    else:
        counted("read")
        assert rows.x.ndim == 3 or rows.x.shape[3] == 3
        assert len(rows.ids) == len(rows.x)


@pytest.mark.usefixtures("in_time")
@pytest.mark.parametrize("start", range(len(IMAGES)), ids=sorted(IMAGES))
@pytest.mark.filterwarnings("error")
def test_odd_images_are_read_or_refused(tmp_path, start):
    for k in range(3):
        read_or_refuse(tmp_path / str(k), start + k * len(IMAGES))


@pytest.mark.grid
@pytest.mark.usefixtures("in_time")
@pytest.mark.parametrize("start", range(len(IMAGES)), ids=sorted(IMAGES))
def test_thousands_of_odd_images_are_read_or_refused(tmp_path, start):
    for k in range(3, 203):
        read_or_refuse(tmp_path / str(k), start + k * len(IMAGES))


@pytest.mark.usefixtures("in_time")
def test_links_in_all_directions_end(tmp_path):
    folders = [tmp_path / str(i) for i in range(8)]
    for folder in folders:
        folder.mkdir()
        for other in folders:
            (folder / f"to {other.name}").symlink_to(other)
    Image.fromarray(np.eye(4, dtype=np.uint8)).save(folders[0] / "x.png")
    assert set(read(tmp_path).train.y) == {folder.name for folder in folders}


SIDES = st.integers(1, 12)
DTYPES = {"uint8": (".png", ".tif", ".bmp", ".webp"), "uint16": (".png", ".tif"), "float32": (".tif",)}


@FEW
@given(data=st.data(), dtype=st.sampled_from(sorted(DTYPES)), height=SIDES, width=SIDES, colour=st.booleans())
def test_images_are_read_as_they_were_written(tmp_path, data, dtype, height, width, colour):
    shape = (height, width, 3) if colour and dtype == "uint8" else (height, width)
    elements = {"allow_nan": False, "allow_infinity": False} if dtype == "float32" else None
    x = data.draw(arrays(dtype, shape, elements=elements))
    suffix = data.draw(st.sampled_from(DTYPES[dtype]))
    path = tmp_path / f"x{suffix}"
    Image.fromarray(x).save(path, **({"lossless": True} if suffix == ".webp" else {}))
    expected = np.stack([x] * 3, -1) if suffix == ".webp" and x.ndim == 2 else x
    np.testing.assert_array_equal(read(path).train.x[0], expected)


@FEW
@given(data=st.data(), size=st.tuples(SIDES, SIDES), shape=st.tuples(SIDES, SIDES), crop=st.booleans())
def test_resized_images_have_the_size_and_no_new_extremes(tmp_path, data, size, shape, crop):
    x = data.draw(arrays(data.draw(st.sampled_from(["uint8", "uint16"])), shape))
    Image.fromarray(x).save(tmp_path / "x.png")
    (y,) = read(tmp_path / "x.png", size=size, crop=crop).train.x
    assert y.shape == size[::-1]
    assert y.dtype == x.dtype
    assert x.min() <= y.min() <= y.max() <= x.max()


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | st.from_regex(r"\d{1,12}x?\d*"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


@settings(FEW, max_examples=200)
@given(source=st.fixed_dictionaries({"size": VALUES, "crop": VALUES, "mode": VALUES}))
def test_options_of_images_are_valid_or_refused(source):
    try:
        options = ImageOptions.of_run(source)
    except InputError as error:
        check_refusal(error)
    else:
        assert ImageOptions.of_run(options.to_config()) == options
