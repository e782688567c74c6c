"""Laws of resident rows: batches by index, bytes, drawn bits, padding, pairs."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import torch

import isthmus
from isthmus.estimators.training_setup import setup_training
from isthmus.schema import Schema, scaling_of
from isthmus.terms.bounds import kl, nll
from isthmus.train import device_data
from isthmus.train.device_data import DeviceDataset, SharedRows, sample_bits, writeable
from models import small
from test_training import parts

CPU = torch.device("cpu")
F32, F64 = torch.float32, torch.float64


def random(seed: int = 0) -> np.random.Generator:
    """A generator of a test's own: what a test draws does not depend on which ran before."""
    return np.random.default_rng(seed)


RANDOM = random(1)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def schema_of(raw: np.ndarray, kind: str, how: str = "none", **fields) -> Schema:
    """The schema of rows (n, *X), scaled as named or as the fields say."""
    shift, scale = scaling_of(raw, how)
    return Schema.homogeneous(
        event_shape=raw.shape[1:], kind=kind, dtype=str(raw.dtype), **({"shift": shift, "scale": scale} | fields)
    )


def lay(raw, schema: Schema, dtype: torch.dtype = F32, **extra) -> DeviceDataset:
    return DeviceDataset(raw, schema, device=CPU, dtype=dtype, **extra)


BYTES = RANDOM.integers(0, 256, (30, 4, 3), dtype=np.uint8)
WHITE = np.asarray(255.0)

DATA = {
    "bytes": (BYTES, schema_of(BYTES, "levels", levels=256, scale=WHITE)),
    "bytes, scaled by column": (BYTES, schema_of(BYTES, "levels", "standard")),
    "signed bytes": ((x := RANDOM.integers(-9, 9, (30, 5), dtype=np.int8)), schema_of(x, "real", "standard")),
    "booleans": ((x := RANDOM.random((30, 5)) < 0.5), schema_of(x, "binary")),
    "16-bit levels": (
        (x := RANDOM.integers(0, 1000, (30, 5)).astype(np.uint16)),
        schema_of(x, "levels", levels=1000, scale=np.asarray(999.0)),
    ),
    "32-bit counts": ((x := RANDOM.poisson(1e5, (30, 5)).astype(np.uint32)), schema_of(x, "counts")),
    "counts": ((x := RANDOM.poisson(9, (30, 5))), schema_of(x, "counts")),
    "floats": ((x := 1e6 + RANDOM.normal(size=(30, 5))), schema_of(x, "real", "standard")),
    "single floats": (
        (x := RANDOM.normal(size=(30, 4, 3)).astype(np.float32)),
        schema_of(x, "real", "global"),
    ),
    "floats as they are": ((x := RANDOM.random((30, 5))), schema_of(x, "unit")),
}


# ------------------------------------------------------------------------------------------------ batches by index


@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize("name", DATA)
def test_a_batch_is_its_rows_converted(name, dtype):
    raw, schema = DATA[name]
    rows = lay(raw, schema, dtype)
    index = torch.tensor([3, 0, 29, 3])  # in any order, more than once
    batch = rows.batch(index)
    assert len(rows) == 30
    assert batch.x.dtype == dtype
    assert batch.x.shape == (4, *raw.shape[1:])
    expected = (raw[index.numpy()].astype(np.float64) - schema.shift) / schema.scale
    eps = torch.finfo(dtype).eps
    np.testing.assert_allclose(batch.x.double().numpy(), expected, rtol=2 * eps, atol=eps)  # one rounding and a product
    assert torch.equal(batch.target, batch.x)
    assert batch.c is batch.mask is batch.clean is batch.y is batch.observed is None
    torch.testing.assert_close(batch.x, schema.to_tensor(torch.from_numpy(writeable(raw[index.numpy()])), dtype))


@pytest.mark.parametrize("name", DATA)
def test_bytes_stay_bytes_and_the_rest_is_converted_once(name):
    raw, schema = DATA[name]
    rows = lay(raw, schema)
    if raw.dtype.itemsize == 1:
        assert rows.x.element_size() == 1
        assert rows.x.dtype == getattr(torch, str(raw.dtype))
        assert torch.equal(rows.x, torch.from_numpy(raw))
    else:
        assert rows.x.dtype == F32
        assert torch.equal(rows.batch(torch.arange(30)).x, rows.x)


@pytest.mark.parametrize("name", DATA)
def test_the_users_array_is_never_written_to(name):
    raw, schema = DATA[name]
    mine = raw.copy()
    rows = lay(mine, schema)
    batch = rows.batch(torch.arange(30))
    batch.x.add_(1)
    np.testing.assert_array_equal(mine, raw)
    assert not torch.equal(rows.batch(torch.arange(30)).x, batch.x)


@pytest.mark.parametrize(
    "form",
    [
        lambda x: np.asfortranarray(x),
        lambda x: x[::-1][::-1],
        lambda x: np.repeat(x, 2, axis=0)[::2],
        lambda x: x.astype(x.dtype.newbyteorder(">")),
        lambda x: np.frombuffer(x.tobytes(), x.dtype).reshape(x.shape),  # read-only
        lambda x: torch.from_numpy(x.copy()),
    ],
    ids=["columns first", "negative strides", "strided", "big endian", "read-only", "tensor"],
)
@pytest.mark.parametrize("name", ["bytes", "counts", "floats", "single floats"])
def test_the_memory_layout_does_not_matter(name, form):
    raw, schema = DATA[name]
    everything = torch.arange(30)
    expected = lay(raw, schema).batch(everything).x
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # torch warns of memory that it must not write to
        assert torch.equal(lay(form(raw), schema).batch(everything).x, expected)


def test_conditions_and_targets_go_with_their_rows():
    raw, schema = DATA["bytes"]
    c, target = random().normal(size=(30, 2)), random().integers(0, 256, raw.shape, dtype=np.uint8)
    rows = lay(raw, schema, c=c, target=target)
    index = torch.tensor([7, 2, 7])
    batch = rows.batch(index)
    assert batch.c.dtype == F32
    np.testing.assert_allclose(batch.c, c[[7, 2, 7]], rtol=1e-6)  # single precision
    np.testing.assert_allclose(batch.clean, target[[7, 2, 7]] / 255, rtol=1e-6)
    np.testing.assert_allclose(batch.x, raw[[7, 2, 7]] / 255, rtol=1e-6)
    assert batch.target is batch.clean
    assert rows.target.dtype == torch.uint8


# ------------------------------------------------------------------------------------------------------------ bits


@pytest.mark.parametrize("dtype", [F32, F64])
def test_bits_of_bytes_have_the_exact_chance(dtype):
    n = 40_000
    x = torch.arange(256, dtype=torch.uint8).expand(n, 256)
    bits = sample_bits(x, dtype)
    assert bits.dtype == dtype
    assert bits.shape == x.shape
    assert ((bits == 0) | (bits == 1)).all()
    assert (bits[:, 0] == 0).all()
    assert (bits[:, 255] == 1).all()
    p = torch.arange(256, dtype=F64) / 255
    error = (p * (1 - p) / n).sqrt()
    gap = (bits.double().mean(0) - p).abs()
    # Four standard errors for each of 256 values (one seed in sixty would fail by chance), 1e-5 for sixteen bits.
    assert (gap <= 4 * error + 1e-5).all()
    # Neighbours are drawn apart: correlations of 255 pairs within five standard errors of zero.
    centred = (bits.double() - p)[:, 1:-1] / (p * (1 - p)).sqrt()[1:-1]
    assert ((centred[:, 1:] * centred[:, :-1]).mean(0).abs() < 5 / math.sqrt(n)).all()


@pytest.mark.parametrize("stored", [F32, F64])
def test_bits_of_floats_have_their_chance(stored):
    n = 40_000
    p = torch.linspace(0, 1, 11, dtype=stored)
    bits = sample_bits(p.expand(n, 11), F32)
    assert bits.dtype == F32
    assert (bits[:, 0] == 0).all()
    assert (bits[:, -1] == 1).all()
    error = (p * (1 - p) / n).sqrt()
    assert ((bits.mean(0) - p).abs() <= 4 * error + 1e-6).all()  # four standard errors


def test_bits_of_booleans_are_themselves():
    x = torch.rand(9, 5) < 0.5
    assert torch.equal(sample_bits(x, F32), x.float())


@pytest.mark.parametrize("shape", [(1,), (3, 1), (2, 5), (3, 7, 1)])
def test_any_number_of_bytes_can_be_drawn(shape):
    x = torch.full(shape, 255, dtype=torch.uint8)
    assert torch.equal(sample_bits(x, F32), torch.ones(shape))


BINARIZED = {
    "bytes": (BYTES, 255.0, "levels"),
    "floats": (RANDOM.random((30, 4, 3)), 1.0, "unit"),
    "bits in bytes": (RANDOM.integers(0, 2, (30, 4, 3), dtype=np.uint8), 1.0, "binary"),
    "bits in booleans": (RANDOM.random((30, 4, 3)) < 0.5, 1.0, "binary"),
    "bits in integers": (RANDOM.integers(0, 2, (30, 4, 3)), 1.0, "binary"),
}


def binarizing(name: str, **extra) -> tuple[np.ndarray, np.ndarray, Schema]:
    """Rows as stored, the chance of each bit, and their schema."""
    raw, white, kind = BINARIZED[name]
    schema = schema_of(raw, kind, scale=np.asarray(white), binarize=True, **extra)
    return raw, raw.astype(np.float64) / white, schema


@pytest.mark.parametrize("bits", ["fresh", "fixed"])
@pytest.mark.parametrize("name", BINARIZED)
def test_drawn_bits_have_the_chance_of_their_pixel(name, bits):
    raw, chance, schema = binarizing(name)
    n = 400
    rows = lay(raw, schema, bits=bits)
    x = torch.stack([rows.batch(torch.arange(30)).x for _ in range(n if bits == "fresh" else 1)]).double()
    assert ((x == 0) | (x == 1)).all()
    assert (x.numpy()[:, chance == 0] == 0).all()
    assert (x.numpy()[:, chance == 1] == 1).all()
    sure = (chance == 0) | (chance == 1)
    if bits == "fresh" and not sure.all():
        assert abs(x.mean(0).numpy() - chance).max() < 5 * 0.5 / math.sqrt(n)  # five standard errors of a fair coin
    # All pixels of one noise: the sum of independent bits is within five standard deviations of its mean.
    assert abs(x[0].sum().item() - chance.sum()) < 5 * math.sqrt((chance * (1 - chance)).sum()) + 1e-9


@pytest.mark.parametrize("name", ["bytes", "floats"])
def test_fresh_bits_are_drawn_each_time_and_fixed_ones_once(name):
    raw, _, schema = binarizing(name)
    everything = torch.arange(30)
    fresh, fixed = lay(raw, schema, bits="fresh"), lay(raw, schema, bits="fixed")
    assert not torch.equal(fresh.batch(everything).x, fresh.batch(everything).x)
    assert torch.equal(fixed.batch(everything).x, fixed.batch(everything).x)


@pytest.mark.parametrize("name", BINARIZED)
def test_fixed_bits_do_not_depend_on_other_rows_order_or_generator(name):
    raw, _, schema = binarizing(name)
    whole = lay(raw, schema, bits="fixed").batch(torch.arange(30)).x
    order = random().permutation(30)
    torch.manual_seed(99)
    before = torch.get_rng_state()
    some = lay(raw[order][:7], schema, bits="fixed")
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(some.batch(torch.arange(7)).x, whole[torch.from_numpy(order[:7])])
    assert torch.equal(some.batch(torch.tensor([5])).x[0], whole[order[5]])


@pytest.mark.parametrize("name", BINARIZED)
def test_mean_bits_are_the_chances(name):
    raw, chance, schema = binarizing(name)
    x = lay(raw, schema, bits="mean").batch(torch.arange(30)).x
    np.testing.assert_allclose(x, chance, rtol=1e-6, atol=1e-7)  # single precision


def test_what_is_not_binarized_has_no_bits():
    raw, schema = DATA["bytes"]
    x = [lay(raw, schema, bits=bits).batch(torch.arange(30)).x for bits in ("fresh", "fixed", "mean")]
    assert torch.equal(x[0], x[1])
    assert torch.equal(x[0], x[2])


def test_input_and_target_are_the_same_draw():
    raw, _, schema = binarizing("bytes")
    batch = lay(raw, schema).batch(torch.arange(30))
    assert batch.target is batch.x


# --------------------------------------------------------------------------------------------------------- padding

GARBAGE = (math.nan, math.inf, -math.inf, 1e30)


@pytest.mark.parametrize("garbage", GARBAGE)
def test_garbage_in_the_padding_is_not_read(garbage):
    lengths = random().integers(1, 7, 30)
    raw = random().normal(size=(30, 6, 3))
    padding = np.arange(6) >= lengths[:, None]
    dirty, clean = raw.copy(), raw.copy()
    dirty[padding], clean[padding] = garbage, 0.0
    schema = schema_of(raw, "real", "standard")
    index = torch.tensor([4, 4, 21, 0])
    a, b = (lay(x, schema, lengths=lengths, target=x).batch(index) for x in (dirty, clean))
    assert torch.equal(a.x, b.x)
    assert torch.equal(a.target, b.target)
    assert torch.equal(a.mask, b.mask)
    assert a.mask.dtype == torch.bool
    assert torch.equal(a.mask.sum(1), torch.from_numpy(lengths)[index])
    assert torch.equal(a.mask, a.mask.sort(1, descending=True).values)  # real steps first
    assert (a.x[~a.mask] == 0).all()


@pytest.mark.parametrize("bits", ["fresh", "fixed", "mean"])
@pytest.mark.parametrize("name", BINARIZED)
def test_garbage_in_the_padding_of_bits_is_not_read(name, bits):
    raw, _, schema = binarizing(name, sequence=True)
    lengths = random().integers(1, 5, 30)
    padding = np.arange(4) >= lengths[:, None]
    dirty, clean = raw.copy(), raw.copy()
    dirty[padding], clean[padding] = (math.inf if raw.dtype.kind == "f" else raw.max()), 0
    drawn = []
    for x in (dirty, clean):
        torch.manual_seed(3)
        drawn.append(lay(x, schema, lengths=lengths, bits=bits).batch(torch.arange(30)).x)
    assert torch.equal(*drawn)


def test_whole_bytes_in_the_padding_are_not_read():
    lengths = random().integers(1, 5, 30)
    schema = schema_of(BYTES, "levels", levels=256, scale=WHITE, sequence=True)
    padding = np.arange(4) >= lengths[:, None]
    dirty, clean = BYTES.copy(), BYTES.copy()
    dirty[padding], clean[padding] = 200, 0
    a, b = (lay(x, schema, lengths=lengths).batch(torch.arange(30)).x for x in (dirty, clean))
    assert torch.equal(a, b)


# -------------------------------------------------------------------------------------- labels, missing values


def test_labels_go_with_their_rows():
    raw, schema = DATA["floats"]
    classes, values = np.arange(30, dtype=np.int32) - 1, np.linspace(0, 1, 30)
    index = torch.tensor([7, 0, 7])
    batch = lay(raw, schema, y=classes).batch(index)
    assert batch.y.dtype == torch.int64
    assert batch.y.tolist() == [6, -1, 6]
    assert lay(raw, schema, F64, y=values).batch(index).y.tolist() == values[[7, 0, 7]].tolist()
    assert lay(raw, schema, y=values).batch(index).y.dtype == F32


@pytest.mark.parametrize("garbage", GARBAGE)
def test_garbage_in_unobserved_elements_is_not_read(garbage):
    raw = random().normal(size=(30, 6, 3))
    observed = random(2).random(raw.shape) < 0.7
    dirty = np.where(observed, raw, garbage)
    schema = schema_of(raw, "real", "standard")
    index = torch.tensor([4, 4, 21, 0])
    a, b = (lay(x, schema, observed=observed, target=x).batch(index) for x in (dirty, raw))
    assert torch.equal(a.x, b.x)
    assert torch.equal(a.clean, b.clean)
    assert torch.equal(a.observed, torch.from_numpy(observed)[index])
    assert (a.x[~a.observed] == 0).all()
    assert torch.equal(a.x[a.observed], lay(raw, schema).batch(index).x[a.observed])


@pytest.mark.parametrize("bits", ["fresh", "fixed", "mean"])
@pytest.mark.parametrize("name", BINARIZED)
def test_garbage_in_unobserved_bits_is_not_read(name, bits):
    raw, _, schema = binarizing(name)
    observed = random(2).random(raw.shape) < 0.7
    dirty = raw.copy()
    dirty[~observed] = math.nan if raw.dtype.kind == "f" else raw.max()
    drawn = []
    for x in (dirty, raw):
        torch.manual_seed(3)
        drawn.append(lay(x, schema, observed=observed, bits=bits).batch(torch.arange(30)).x)
    assert torch.equal(*drawn)


def test_training_does_not_read_what_was_not_observed():
    raw = random().normal(size=(40, 5)).astype(np.float32)
    observed = random(2).random(raw.shape) < 0.7
    weights = []
    for x in (raw, np.where(observed, raw, math.nan)):
        model = parts()
        isthmus.fit(model, x, nll + kl, observed=observed, epochs=2, threads=1)
        weights.append(torch.cat([p.flatten() for p in model.parameters()]))
    assert weights[0].isfinite().all()
    assert torch.equal(*weights)


# ---------------------------------------------------------------------- rows that stay where they are


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8, np.int64, ">f8"])
@pytest.mark.parametrize("some", [False, True])
def test_rows_that_stay_where_they_are_give_the_same_batches(dtype, some, monkeypatch):
    raw = np.random.default_rng(0).integers(0, 200, (60, 4)).astype(dtype)
    schema = setup_training(small("Autoencoder", likelihood="normal", scaling="standard"), raw.astype("f8")).schema
    index = np.random.default_rng(1).permutation(60)[:40] if some else None
    kept, read = [], torch.tensor([7, 0, 31, 7])
    for most in (2**23, 0):
        monkeypatch.setattr(device_data, "MIN_SHARED_NUMBERS", most)
        kept.append(DeviceDataset(raw, schema, device=torch.device("cpu"), dtype=torch.float32, index=index))
    assert isinstance(kept[1].x, SharedRows)
    assert isinstance(kept[0].x, torch.Tensor)
    assert len(kept[0]) == len(kept[1]) == (40 if some else 60)
    assert torch.equal(kept[0].batch(read).x, kept[1].batch(read).x)


def test_a_file_mapped_into_memory_is_read_row_by_row(tmp_path, monkeypatch):
    monkeypatch.setattr(device_data, "MIN_SHARED_NUMBERS", 0)
    np.save(tmp_path / "rows.npy", np.random.default_rng(0).normal(size=(90, 5)).astype("f4"))
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    job = setup_training(small("VAE"), mapped)
    rows = job.to_device(job.inputs, job.train_index)
    assert isinstance(rows.x, SharedRows)
    assert np.shares_memory(rows.x.raw, mapped)
    monkeypatch.undo()
    copied = small("VAE").fit(np.array(mapped))
    monkeypatch.setattr(device_data, "MIN_SHARED_NUMBERS", 0)
    shared = small("VAE").fit(mapped)
    for one, two in zip(copied.model_.state_dict().values(), shared.model_.state_dict().values()):
        assert torch.equal(one, two)
