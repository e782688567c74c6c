"""Laws of the schema: raw data to tensors and back, densities in the data's units, conditions, configuration."""

from __future__ import annotations

import dataclasses
import json
import warnings

import numpy as np
import pytest
import torch
from torch import distributions as D

from isthmus.errors import InputError
from isthmus.schema import KINDS, Condition, Schema, check_finite, kind_of, scaling_of

F32, F64 = torch.float32, torch.float64


def random(seed: int = 0) -> np.random.Generator:
    """A generator of a test's own: what a test draws does not depend on which ran before."""
    return np.random.default_rng(seed)


RANDOM = random(1)


def described(values: np.ndarray, how: str = "none", **fields) -> Schema:
    """The schema of (n, *X), scaled as named."""
    shift, scale = scaling_of(values, how)
    defaults = {"kind": kind_of(values), "dtype": str(values.dtype), "shift": shift, "scale": scale}
    return Schema.homogeneous(event_shape=values.shape[1:], **(defaults | fields))


WHOLE = {
    "bytes": (RANDOM.integers(0, 256, (40, 4, 3), dtype=np.uint8), {"scale": np.asarray(255.0), "levels": 256}),
    "all bytes": (np.arange(256, dtype=np.uint8)[:, None], {"scale": np.asarray(255.0), "levels": 256}),
    "17 levels in floats": (RANDOM.integers(0, 17, (40, 5)).astype(np.float64), {"scale": np.asarray(16.0)}),
    "7 levels in integers": (RANDOM.integers(0, 7, (40, 5)), {"scale": np.asarray(6.0), "levels": 7}),
    "bits in bytes": (RANDOM.integers(0, 2, (40, 5), dtype=np.uint8), {}),
    "bits in booleans": (RANDOM.integers(0, 2, (40, 5)).astype(bool), {}),
    "bits in floats": (RANDOM.integers(0, 2, (40, 5)).astype(np.float32), {}),
    "small counts": (RANDOM.poisson(3, (40, 5)).astype(np.int16), {}),
    "large counts": (RANDOM.poisson(1e6, (40, 5)), {}),
}
"""Whole numbers, and what their schema says beside the kind."""


@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize("name", WHOLE)
def test_whole_numbers_come_back_exactly(name, dtype):
    raw, fields = WHOLE[name]
    kind = "levels" if "level" in name else kind_of(raw)
    schema = described(raw, kind=kind, **fields)
    before = raw.copy()
    x = schema.to_tensor(torch.from_numpy(raw), dtype)
    assert x.dtype == dtype
    assert x.shape == raw.shape
    np.testing.assert_array_equal(raw, before)
    if kind in ("levels", "binary"):
        assert x.min() >= 0
        assert x.max() <= 1
    drawn = schema.to_data(x, drawn=True)
    assert drawn.dtype == raw.dtype
    np.testing.assert_array_equal(drawn, raw)
    mean = schema.to_data(x)  # an expectation is no whole number
    assert mean.dtype.kind == "f"
    np.testing.assert_allclose(mean, raw.astype(float), rtol=1e-6, atol=1e-5)  # single precision


FLOATS = {
    "plain": RANDOM.normal(size=(40, 5)),
    "unit": RANDOM.random((40, 4, 3)),
    "scales from 1e-6 to 1e6": RANDOM.normal(size=(40, 5)) * np.logspace(-6, 6, 5),
    "mean 1e6, spread 1": 1e6 + RANDOM.normal(size=(40, 5)),
    "mean -1e9, spread 1e-2": -1e9 + 1e-2 * RANDOM.normal(size=(40, 5)),
    "image, mean 1e4": 1e4 + RANDOM.normal(size=(40, 4, 3)),
}


@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize("how", ["standard", "global", "none"])
@pytest.mark.parametrize("stored", [np.float32, np.float64])
@pytest.mark.parametrize("name", FLOATS)
def test_floats_come_back(name, stored, how, dtype):
    raw = FLOATS[name].astype(stored)
    schema = described(raw, how, discrete=False)
    x = schema.to_tensor(torch.from_numpy(raw), dtype)
    again = schema.to_data(x)
    assert x.dtype == dtype
    assert again.dtype == stored
    # Half a unit in the last place of the tensor, in the data's scale, and of the data's own type; twice for safety.
    room = torch.finfo(dtype).eps * np.abs(x.double().numpy()) * schema.scale + np.finfo(stored).eps * np.abs(raw)
    assert (np.abs(again.astype(np.float64) - raw) <= room + 1e-300).all()


@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize("stored", [np.float32, np.float64])
@pytest.mark.parametrize("name", FLOATS)
def test_scaled_columns_have_mean_zero_and_spread_one(name, stored, dtype):
    raw = FLOATS[name].astype(stored)
    for how in ("standard", "global"):
        x = described(raw, how).to_tensor(torch.from_numpy(raw), dtype).double()
        constant = raw.std(0, dtype=np.float64) == 0
        # 1e-4: a mean of 1e9 in double precision has 1e-5 of a spread of 1e-2
        np.testing.assert_allclose(x.mean(0), 0, atol=1e-4)
        if how == "standard":
            np.testing.assert_allclose(x.std(0, unbiased=False)[torch.from_numpy(~constant)], 1, rtol=1e-5)
        else:
            assert x.square().mean().sqrt().item() == pytest.approx(0 if constant.all() else 1, rel=1e-5)


@pytest.mark.parametrize("how", ["standard", "global"])
def test_scaling_learns_as_well_from_single_precision(how):
    raw = (1e4 + random().normal(size=(20_000, 3))).astype(np.float32)
    for a, b in zip(scaling_of(raw, how), scaling_of(raw.astype(np.float64), how)):
        assert a.dtype == np.float64
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("how", ["standard", "global"])
@pytest.mark.parametrize("stored", [np.float32, np.float64])
@pytest.mark.parametrize("n", [2, 3, 10, 1000, 1_000_000])
@pytest.mark.parametrize("constant", [0.0, 0.1, -1e-9, 1e6 + 0.1])
def test_constant_columns_have_scale_one(constant, n, stored, how):
    values = np.full((n, 2), constant, dtype=stored)
    _, scale = scaling_of(values, how)
    np.testing.assert_array_equal(scale, np.ones_like(scale))


def test_a_constant_column_leaves_the_others_alone():
    values = random().normal(size=(50, 3)) * 3 + 1e3
    values[:, 1] = 0.1
    shift, scale = scaling_of(values, "standard")
    np.testing.assert_allclose(shift, values.mean(0))
    np.testing.assert_allclose(scale, [values[:, 0].std(), 1.0, values[:, 2].std()])


def test_a_small_spread_around_a_large_mean_is_a_spread():
    values = 1e6 + 1e-3 * random().normal(size=(500, 2))
    _, scale = scaling_of(values, "standard")
    np.testing.assert_allclose(scale, 1e-3, rtol=0.2)  # 500 draws


@pytest.mark.parametrize("unit", [1e-20, 1e-12, 1e12, 1e20])
@pytest.mark.parametrize("how", ["standard", "global"])
def test_scaling_is_equivariant_to_units(how, unit):
    values = random().normal(size=(50, 3)) + 1
    for plain, scaled in zip(scaling_of(values, how), scaling_of(values * unit, how)):
        np.testing.assert_allclose(scaled, plain * unit, rtol=1e-9)
    numbers = Condition.read(values * unit)
    np.testing.assert_allclose(numbers.encode(values * unit, 50), Condition.read(values).encode(values, 50), rtol=1e-6)


def test_an_unknown_scaling_names_the_nearest():
    with pytest.raises(InputError, match="Did you mean 'standard'"):
        scaling_of(np.ones((3, 2)), "standart")


@pytest.mark.parametrize("how", ["standard", "global", "none"])
@pytest.mark.parametrize("name", FLOATS)
def test_log_volume_is_the_change_of_variables(name, how):
    raw = FLOATS[name]
    schema = described(raw, how, discrete=False)
    row = torch.from_numpy(raw[:1])
    jacobian = torch.autograd.functional.jacobian(lambda r: schema.to_tensor(r, F64).flatten(), row)
    _, log_det = torch.linalg.slogdet(jacobian.reshape(schema.size, schema.size))
    assert schema.log_volume == pytest.approx(-log_det.item(), rel=1e-9, abs=1e-9)
    # A normal of the data's own location and scale, by its density in either unit.
    own = D.Normal(torch.from_numpy(raw.mean(0)), torch.from_numpy(raw.std(0)))
    shift, scale = torch.as_tensor(schema.shift), torch.as_tensor(schema.scale)
    inside = D.Normal((own.loc - shift) / scale, own.scale / scale)
    x = schema.to_tensor(row, F64)
    in_data, in_net = own.log_prob(row).sum().item(), inside.log_prob(x).sum().item()
    assert in_data == pytest.approx(in_net - schema.log_volume, rel=1e-5)  # the mean of 1e9 costs digits
    assert (
        dataclasses.replace(schema, columns=(dataclasses.replace(schema.columns[0], discrete=True),)).log_volume == 0.0
    )


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "uint16"])
def test_drawn_counts_do_not_wrap_around(dtype):
    schema = Schema.homogeneous(event_shape=(1,), kind="counts", dtype=dtype)
    beyond = float(np.iinfo(dtype).max) + 1.0
    drawn = schema.to_data(torch.tensor([[3.0], [beyond]]), drawn=True)
    assert drawn[0, 0] == 3
    # Either a wider type or the largest number of this one; never a small or negative count.
    assert int(drawn[1, 0]) >= beyond - 1


# -------------------------------------------------------------------------------------------------- what data are


@pytest.mark.parametrize(
    ("values", "levels", "kind"),
    [
        (np.array([[True, False]]), None, "binary"),
        (np.array([[0, 1], [1, 1]], dtype=np.uint8), None, "binary"),
        (np.array([[0, 1], [1, 1]]), 17, "binary"),
        (np.array([[0.0, 1.0]]), None, "binary"),
        (np.array([[0, 255]], dtype=np.uint8), None, "levels"),
        (np.array([[0, 2]], dtype=np.uint8), None, "levels"),
        (np.array([[0.0, 16.0]]), 17, "levels"),
        (np.array([[0, 300]], dtype=np.uint16), None, "counts"),
        (np.array([[0, 3]]), None, "counts"),
        (np.array([[-1, 3]]), None, "real"),
        (np.array([[0.0, 3.0]]), None, "real"),
        (np.array([[0.0, 0.5, 1.0]]), None, "unit"),
        (np.array([[0.2, 1.0001]]), None, "real"),
        (np.array([[-1e-9, 1.0]]), None, "real"),
    ],
)
def test_the_kind_is_read_off_type_and_values(values, levels, kind):
    assert kind in KINDS
    assert kind_of(values, levels) == kind


def test_what_is_not_finite_is_named_and_counted():
    values = np.ones((6, 3))
    check_finite(values, "X")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_finite(np.full((3, 2), 1e140), "X")
        with pytest.raises(
            InputError, match=r"must not exceed 1e\+140, got larger numbers in column 1 \(2\)\. Rescale"
        ):
            check_finite(np.array([[1.0, 1e200], [2.0, -1e300]]), "X")
        with pytest.raises(InputError, match=r"0 \(1\), 1 \(1\)"):
            check_finite(np.array([[np.inf, -np.inf]]), "X")
    check_finite(np.ones((3, 2), dtype=np.int64), "X")
    values[1:3, 1], values[4, 2] = np.nan, np.inf
    with pytest.raises(InputError, match=r"X must be finite, got NaN or infinity in column b \(2\), c \(1\)"):
        check_finite(values, "X", ("a", "b", "c"))
    with pytest.raises(InputError, match=r"column 1 \(2\)"):
        check_finite(values, "X")
    values[:] = np.nan
    with pytest.raises(InputError, match="and 7 more columns"):
        check_finite(np.full((2, 12), np.nan), "X")


@pytest.mark.parametrize(
    ("shape", "sequence", "image", "size"),
    [((5,), False, False, 5), ((4, 3), False, True, 12), ((4, 3, 2), False, True, 24), ((4, 3), True, False, 12)],
)
def test_shapes_that_are_images(shape, sequence, image, size):
    schema = Schema.homogeneous(event_shape=shape, kind="real", dtype="float64", sequence=sequence)
    assert schema.image is image
    assert schema.size == size
    assert schema.condition_width == 0


# ----------------------------------------------------------------------------------------------------- conditions

CLASSES = {
    "integers": np.array([3, 1, 1, 7, 3]),
    "bytes of a file": np.array([3, 1, 1, 7, 3], dtype=np.uint8),
    "booleans": np.array([True, False, True, True, False]),
    "words": np.array(["b", "a", "c", "c", "a"]),
    "words as objects": np.array(["b", "a", "c", "c", "a"], dtype=object),
    "words as bytes": np.array([b"b", b"a", b"c", b"c", b"a"]),
    "a column": np.array([[3], [1], [1], [7], [3]]),
    "mixed": np.array(["b", 2, "c", 1, 2], dtype=object),
}


@pytest.mark.parametrize("name", CLASSES)
def test_classes_become_one_hot_rows(name):
    values = CLASSES[name]
    condition = Condition.read(values)
    encoded = condition.encode(values, 5)
    assert condition.width == len(np.unique(values.astype(str)))
    assert encoded.shape == (5, condition.width)
    np.testing.assert_array_equal(encoded.sum(1), 1)
    np.testing.assert_array_equal(encoded.max(1), 1)
    flat = values.reshape(-1)
    same = flat[:, None] == flat[None, :]
    np.testing.assert_array_equal(encoded @ encoded.T == 1, same)  # equal rows for equal labels, and for no others
    assert Condition.read(values[::-1]) == condition  # the order of rows is no matter


@pytest.mark.parametrize("name", CLASSES)
def test_one_class_stands_for_all_rows(name):
    values = CLASSES[name].reshape(-1)
    condition = Condition.read(values)
    expected = condition.encode(values[[1] * 4], 4)
    np.testing.assert_array_equal(condition.encode(values[1], 4), expected)
    np.testing.assert_array_equal(condition.encode(values[1:2], 4), expected)


@pytest.mark.parametrize(
    ("name", "unseen"),
    [("integers", 2), ("words", "d"), ("booleans", "yes"), ("words", None), ("words as objects", float("nan"))],
)
def test_an_unseen_class_is_named_with_the_known_ones(name, unseen):
    condition = Condition.read(CLASSES[name])
    with pytest.raises(InputError, match="condition must be one of") as caught:
        condition.encode(np.array([unseen], dtype=object), 1)
    assert all(repr(label) in str(caught.value) for label in condition.classes)


def test_numbers_are_standardised_by_the_training_part():
    values = random().normal(size=(200, 2)) * [1e-3, 50] + [7, -3]
    condition = Condition.read(values)
    encoded = condition.encode(values, 200)
    np.testing.assert_allclose(encoded.mean(0), 0, atol=1e-9)
    np.testing.assert_allclose(encoded.std(0), 1)
    other = condition.encode(values[:3] + 1, 3)  # by what was learned, not by themselves
    np.testing.assert_allclose(other, (values[:3] + 1 - values.mean(0)) / values.std(0))
    np.testing.assert_allclose(condition.encode(values[0], 4), np.repeat(encoded[:1], 4, 0))  # one row for all
    single = Condition.read(values[:, 0])
    np.testing.assert_allclose(single.encode(values[:, 0], 200)[:, 0], encoded[:, 0])
    np.testing.assert_allclose(single.encode(values[5, 0], 3)[:, 0], encoded[5, 0])


@pytest.mark.parametrize("dtype", [np.float64, np.int64, np.float32])
def test_one_hot_rows_stay_as_they_are(dtype):
    values = np.eye(4, dtype=dtype)[[0, 1, 1, 3, 2, 0]]
    np.testing.assert_array_equal(Condition.read(values).encode(values, 6), values)


@pytest.mark.parametrize("n", [2, 3, 5, 7, 10, 1000])
def test_a_constant_number_has_scale_one(n):
    values = np.column_stack([np.full(n, 0.1), np.arange(n) / 10])
    condition = Condition.read(values)
    assert condition.scale[0] == 1.0
    moved = values + np.array([1.0, 0.0])
    np.testing.assert_allclose(condition.encode(moved, n)[:, 0], 1.0)


@pytest.mark.parametrize(
    ("learned", "given", "n", "message"),
    [
        (CLASSES["integers"], [1, 3], 5, "each of the 5 rows, got 2"),
        (CLASSES["integers"], [[1, 3]], 1, "one label per row"),
        (np.ones((4, 2)) * 0.5, np.ones((4, 3)), 4, r"\(rows, 2\)"),
        (np.ones((4, 2)) * 0.5, ["a", "b"], 2, "must be numbers"),
        (np.ones((4, 2)) * 0.5, np.full((4, 2), np.nan), 4, "NaN or infinity"),
        (np.ones(4) * 0.5, np.ones(3), 4, "each of the 4 rows, got 3"),
    ],
)
def test_conditions_that_do_not_fit_are_refused(learned, given, n, message):
    with pytest.raises(InputError, match=message):
        Condition.read(np.asarray(learned)).encode(given, n)


@pytest.mark.parametrize("values", [np.array([0.1, np.nan]), np.array([["a", "b"]]), np.array([[0.1, np.inf]])])
def test_conditions_that_cannot_be_learned_are_refused(values):
    with pytest.raises(InputError, match="condition must"):
        Condition.read(values)


# -------------------------------------------------------------------------------------------------- configuration


def assert_same(a: Schema, b: Schema) -> None:
    for field in dataclasses.fields(Schema):
        mine, theirs = getattr(a, field.name), getattr(b, field.name)
        if isinstance(mine, np.ndarray):
            assert mine.shape == theirs.shape
            assert mine.dtype == theirs.dtype
            assert np.array_equal(mine, theirs)
        else:
            assert mine == theirs
            assert type(mine) is type(theirs)


def through_json(schema: Schema) -> Schema:
    return Schema.from_config(json.loads(json.dumps(schema.to_config(), allow_nan=False)))


@pytest.mark.parametrize("how", ["standard", "global", "none"])
@pytest.mark.parametrize("name", FLOATS)
def test_a_configuration_comes_back_to_the_last_bit(name, how):
    raw = FLOATS[name]
    schema = described(
        raw,
        how,
        discrete=False,
        likelihood="normal(0.1)",
        names=("a", "b"),
        low=np.array(-0.1),
        high=np.array(1 / 3),
        sequence=True,
    )
    assert_same(through_json(schema), schema)


@pytest.mark.parametrize("name", WHOLE)
def test_a_configuration_of_whole_numbers_comes_back(name):
    raw, fields = WHOLE[name]
    schema = described(raw, likelihood="bernoulli", binarize=True, **fields)
    assert_same(through_json(schema), schema)


@pytest.mark.parametrize("name", [*CLASSES, "numbers", "one-hot"])
def test_a_condition_comes_back(name):
    values = {"numbers": random().normal(size=(5, 2)), "one-hot": np.eye(5)}.get(name, CLASSES.get(name))
    schema = Schema.homogeneous(event_shape=(2,), kind="real", dtype="float64", condition=Condition.read(values))
    again = through_json(schema)
    assert_same(again, schema)
    np.testing.assert_array_equal(again.condition.encode(values, 5), schema.condition.encode(values, 5))
    assert again.condition_width == schema.condition.width
