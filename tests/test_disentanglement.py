"""Disentanglement scores of codes whose scores are known, and the sprites data set of known factors."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import mutual_info_score

import isthmus
from isthmus.cli.main import main
from isthmus.data import read
from isthmus.data.sprites import SHAPES, SIZES_PX, SYMMETRY_ANGLES, is_inside
from isthmus.errors import InputError
from isthmus.metrics import disentanglement as scores
from isthmus.metrics.disentanglement import dci, disentanglement, factor_vae, mig, modularity, sap
from isthmus.metrics.mutual_information import adjusted_information, table_information

SCORES = ["mig", "sap", "factor_vae", "modularity", "disentanglement", "completeness", "informativeness"]
LEVELS = 4


def drawn(n: int = 1500, factors: int = 4, seed: int = 0) -> np.ndarray:
    """(n, F) independent factors of four even levels."""
    return np.random.default_rng(seed).integers(0, LEVELS, (n, factors))


def rotated(f: np.ndarray) -> np.ndarray:
    """The first two factors rotated into each other by an eighth of a turn."""
    return np.column_stack([f[:, 0] - f[:, 1], f[:, 0] + f[:, 1], f[:, 2:]])


def spread(f: np.ndarray) -> np.ndarray:
    """The first factor over two dimensions, a bit in each."""
    return np.column_stack([f[:, 0] // 2, f[:, 0] % 2, f[:, 1:]])


def shared(f: np.ndarray) -> np.ndarray:
    """The first two factors in one dimension, which separates all their pairs."""
    return np.column_stack([LEVELS * f[:, 0] + f[:, 1], f[:, 2:]])


BIT = 1 - math.log(2) / math.log(4)
"""Of a dimension that is as important for two of four factors."""
OF_FIVE = 1 - math.log(2) / math.log(5)
"""Of a factor that two of five dimensions are as important for."""
# Two of four factors lose their gap, or half of their votes: (1 + 1 + 1/2 + 1/2) / 4 right, where a guess has 1/4.
KNOWN = {
    "rotated": (rotated, [1 / 2, 1 / 2, 2 / 3, (2 + 2 * (2 / 3)) / 4, (2 + 2 * BIT) / 4, (2 + 2 * BIT) / 4, 1]),
    "spread": (spread, [3 / 4, 3 / 4, 1, 1, 1, (3 + OF_FIVE) / 4, 1]),
    "shared": (shared, [1, 1, 2 / 3, (2 + 2 / 3) / 3, (2 + 2 * BIT) / 4, 1, 1]),
}
"""Codes, and what each score is of them."""


@pytest.mark.parametrize("bent", [lambda f: np.exp(3 * f), lambda f: -((f - 5.0) ** 3)[:, ::-1]])
def test_one_dimension_per_factor_scores_one_under_any_monotone_map(bent):
    result = disentanglement(bent(drawn().astype(float)), drawn())
    assert list(result) == SCORES
    for name, value in result.items():
        # Only the gaps see a second dimension, which is a guess to two hundredths of so many rows.
        assert value.mean == pytest.approx(1, abs=0.03 if name in ("mig", "sap") else 1e-3), name


@pytest.mark.parametrize("name", list(KNOWN))
def test_scores_that_follow_from_the_definitions(name):
    code, known = KNOWN[name]
    for (score, value), expected in zip(disentanglement(code(drawn()), drawn()).items(), known):
        # The factors themselves are even and independent to 1 / sqrt(1500) = 0.026 only.
        assert value.mean == pytest.approx(expected, abs=0.03), score
        assert value.error < 0.05, score


def test_an_independent_code_scores_zero():
    codes = np.random.default_rng(1).normal(size=(1500, 6))
    for name, value in disentanglement(codes, drawn()).items():
        # Errors of five groups are known to a third: five of them are seldom passed by chance.
        assert abs(value.mean) <= 5 * value.error, name
        assert value.error < 0.1, name


@pytest.mark.parametrize("score", [mig, sap, factor_vae])
def test_scores_of_independent_codes_are_unbiased(score, monkeypatch):
    monkeypatch.setattr(scores, "N_VOTES", 400)  # fewer are noisier, and as even
    result = []
    for seed in range(16):
        codes = np.random.default_rng(100 + seed).normal(size=(160, 8))
        result.append(score(codes, drawn(160, seed=seed), seed).mean)
    assert abs(np.mean(result)) < 3 * np.std(result) / math.sqrt(len(result))


def test_choosing_and_scoring_on_the_same_rows_is_biased():
    gaps = []
    for seed in range(16):
        codes = np.random.default_rng(100 + seed).normal(size=(160, 8))
        share = adjusted_information(codes, drawn(160, seed=seed)).normalized
        gaps.append(scores.gap(share, share))
    assert np.mean(gaps) > 5 * np.std(gaps) / math.sqrt(len(gaps))


def test_information_is_relative_to_the_mean_over_random_pairings():
    random = np.random.default_rng(0)
    rows, columns = random.integers(0, 7, 80), random.choice(5, 80, p=[0.6, 0.2, 0.1, 0.05, 0.05])

    def table(rows):
        counts = np.zeros((7, 5), int)
        np.add.at(counts, (rows, columns), 1)
        return counts

    plain = [mutual_info_score(random.permutation(rows), columns) for _ in range(150)]
    nats, share, chance = table_information(table(rows))
    # The mean of 150 pairings has a standard error: four of them.
    assert mutual_info_score(rows, columns) - nats == pytest.approx(
        np.mean(plain), abs=4 * np.std(plain) / math.sqrt(150)
    )
    assert abs(share) < 0.1
    assert chance > 0.01
    assert table_information(table(columns))[1:] == (pytest.approx(1), pytest.approx(0, abs=1e-9))


def test_standard_errors_match_the_spread_over_samples():
    random, result = np.random.default_rng(2), []
    for seed in range(24):
        factors = drawn(600, 3, seed)
        result.append(mig(factors + random.normal(size=factors.shape), factors, seed))
    means, errors = np.array(result).T
    # The spread of 24 numbers is known to 15 %, the mean of as many errors of four degrees of freedom to 8 %.
    assert 0.5 < math.sqrt(np.mean(errors**2)) / means.std() < 2


def test_noise_lowers_informativeness_but_not_disentanglement():
    factors = drawn()
    result = disentanglement(factors + 0.5 * np.random.default_rng(3).normal(size=factors.shape), factors)
    for name in ("mig", "sap", "informativeness"):
        assert 0.2 < result[name].mean < 0.9, name
    for name in ("factor_vae", "modularity", "disentanglement", "completeness"):
        assert result[name].mean > 0.97, name  # each dimension still depends on one factor only


def test_constant_columns_and_names_of_levels_do_not_matter():
    factors = drawn(300, 3)
    codes = rotated(factors).astype(float)
    named = np.column_stack([1000 * factors - 5, np.full(300, 7)]).astype(np.int16)
    padded = np.column_stack([np.full(300, 0.1), codes, np.zeros(300)])
    assert disentanglement(padded, named) == disentanglement(codes, factors)


def test_a_constant_code_scores_zero_and_one_dimension_is_scored():
    factors = drawn(300, 3)
    assert {value.mean for value in disentanglement(np.ones((300, 5)), factors).values()} == {0.0}
    one = disentanglement(factors[:, :1], factors)
    # One factor whole, of two nothing, which 120 rows determine to a hundredth.
    assert one["mig"].mean == pytest.approx(1 / 3, abs=0.02)
    assert one["informativeness"].mean == pytest.approx(1 / 3, abs=1e-9)
    assert one["modularity"].mean == pytest.approx(1, abs=0.01)


def test_rare_levels_and_booleans_are_valid_factors():
    factors = np.column_stack([np.arange(200) == 7, np.arange(200) % 2 == 0, np.arange(200) // 100]).astype(bool)
    for value in disentanglement(factors.astype(float), factors).values():
        assert np.isfinite(value).all()


def test_results_depend_on_the_seed_only_and_the_global_generator_is_preserved():
    codes, before = rotated(drawn(300, 3)), np.random.get_state()[1].tolist()  # noqa: NPY002
    for score in (dci, factor_vae, mig):
        assert score(codes, drawn(300, 3), 5) == score(codes, drawn(300, 3), 5)
    assert np.random.get_state()[1].tolist() == before  # noqa: NPY002
    assert mig(codes, drawn(300, 3), 5) != mig(codes, drawn(300, 3), 6)


def test_rows_are_limited():
    codes, factors = scores.validate(np.zeros((9000, 2)) + np.arange(9000)[:, None], drawn(9000), 0)
    assert codes.shape == (5000, 2)
    assert factors.shape == (5000, 4)
    assert len(np.unique(codes)) == 5000


@pytest.mark.parametrize(
    ("codes", "factors", "words"),
    [
        (drawn(), drawn()[:9], r"\(1500, number of factors\), got \(9, 4\)"),
        (drawn(), drawn()[:, 0], r"\(1500, number of factors\)"),
        (drawn(), drawn()[:, :0], r"\(1500, number of factors\)"),
        (drawn(), drawn().astype(float), "must be integers, got dtype float64"),
        (drawn(), drawn().astype(str), "must be integers"),
        (drawn(), drawn() * [1, 0, 0, 0], "got 1 of 4"),
        (drawn(), np.column_stack([drawn(), np.arange(1500)]), "at most 100 levels, got 1,500"),
        (drawn()[:, 0], drawn(), r"\(n, latent_dim\)"),
        (drawn().astype(str), drawn(), r"\(n, latent_dim\)"),
        (drawn() / np.array([1, 1, 1, np.nan]), drawn(), "NaN"),
        (drawn(50), drawn(50), "at least 100 rows"),
    ],
)
@pytest.mark.parametrize("score", [disentanglement, mig, dci, modularity])
def test_invalid_input_is_reported_in_one_line(score, codes, factors, words):
    with pytest.raises(InputError, match=words) as caught:
        score(codes, factors)
    assert len(str(caught.value).splitlines()) == 1


# --------------------------------------------------------------------- sprites


@pytest.fixture(scope="module")
def sprites():
    return read("sprites")


def test_sprites_are_every_combination_once(sprites, capsys):
    x, y, factors = sprites.train.x, sprites.train.y, sprites.train.factors
    assert (x.shape, x.dtype) == ((6144, 64, 64), np.uint8)
    assert np.unique(x).tolist() == [0, 1]
    assert factors.dtype == np.int64
    assert factors.max(0).tolist() == [2, 3, 7, 7, 7]
    assert len(np.unique(factors, axis=0)) == 6144
    assert len(np.unique(np.packbits(x.reshape(6144, -1), 1), axis=0)) == 6144
    assert sprites.factor_names == ("shape", "scale", "rotation", "x", "y")
    assert (y == factors[:, 0]).all()
    assert isthmus.check(x[::96]).kind == "binary"
    assert main(["data"]) == 0
    assert sum(line.startswith("sprites ") for line in capsys.readouterr().out.splitlines()) == 1


def test_sprites_lie_inside_and_have_their_area(sprites):
    x, factors = sprites.train.x, sprites.train.factors
    assert not x[:, [0, -1]].any()
    assert not x[:, :, [0, -1]].any()
    expected = np.square(np.array(SIZES_PX))[factors[:, 1]]
    # A sprite of 13 pixels has some 50 on its edge, of which chance puts a few more in than out: a twenty-fifth.
    np.testing.assert_allclose(x.sum((1, 2)), expected, rtol=0.04)
    areas = x.sum((1, 2)).reshape(len(SHAPES) * len(SIZES_PX) * 8, 64)
    assert (areas == areas[:, :1]).all()  # the same pixels, wherever they lie


def test_places_are_read_from_the_centre_of_mass(sprites):
    x, factors = sprites.train.x, sprites.train.factors
    mass = x.sum((1, 2))
    for dim, axis in (("x", 1), ("y", 2)):
        centre = x.sum(axis) @ np.arange(64) / mass  # columns for x, rows for y
        place = factors[:, sprites.factor_names.index(dim)]
        # Places are four pixels apart, and no shape's centre is off by more than half a pixel.
        assert np.abs(centre - (31.5 + 4 * (place - 3.5))).max() < 0.5


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_have_area_one_centre_nought_and_the_symmetry_that_they_are_turned_by(shape):
    place = np.linspace(-1, 1, 801)
    u, v = np.meshgrid(place, place)
    area = (place[1] - place[0]) ** 2
    whole = is_inside(shape, u, v)
    # The edge is some four long and a point 0.0025 wide: its points fall in or out by chance.
    assert whole.sum() * area == pytest.approx(1, abs=0.005)
    assert abs((whole * u).sum() * area) < 0.002
    assert abs((whole * v).sum() * area) < 0.002
    for share, same in ((1, True), (0.5, False), (0.25, False)):
        angle = share * SYMMETRY_ANGLES[shape]
        cos, sin = math.cos(angle), math.sin(angle)
        differs = (whole != is_inside(shape, cos * u + sin * v, cos * v - sin * u)).sum() * area
        assert (differs < 0.01) == same


def test_sprites_are_drawn_alike_every_time(sprites):
    again = read("sprites")
    np.testing.assert_array_equal(sprites.train.x, again.train.x)
    np.testing.assert_array_equal(sprites.train.factors, again.train.factors)


def test_the_factors_of_sprites_are_a_perfect_code_of_themselves(sprites):
    factors = sprites.train.factors
    assert modularity(factors, factors).mean == pytest.approx(1, abs=1e-3)
    assert mig(np.exp(factors), factors).mean == pytest.approx(1, abs=0.01)


# ------------------------------------------------------------- factors in files


def test_factors_come_with_a_file(tmp_path):
    rows, factors = np.random.default_rng(0).normal(size=(9, 3)), drawn(9, 2)
    np.savez(tmp_path / "one.npz", x=rows, factors=factors.astype(np.uint8))
    one = read(tmp_path / "one.npz")
    np.testing.assert_array_equal(one.train.factors, factors)
    assert one.factor_names is None
    parts = {"x_train": rows, "factors_train": factors, "x_test": rows[:4], "factors_test": factors[:4]}
    np.savez(tmp_path / "two.npz", **parts, factor_names=np.array(["hue", "size"]))
    two = read(tmp_path / "two.npz")
    np.testing.assert_array_equal(two.test.factors, factors[:4])
    assert two.factor_names == ("hue", "size")


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"factors": drawn(9, 2)[:5]}, r"\(9, number of factors\), got \(5, 2\)"),
        ({"factors": drawn(9, 2) / 2}, "must be integers"),
        ({"factors": drawn(9, 2), "factor_names": np.array(["hue"])}, "must be 2 strings"),
        ({"factors": drawn(9, 2), "factor_names": np.arange(2)}, "must be 2 strings"),
        ({"factors_tset": drawn(9, 2)}, "Did you mean 'factors_test'"),
        ({"factors_test": drawn(9, 2)}, "must have the key x"),
        ({"factors": drawn(9, 2), "x_test": np.ones((9, 3)), "factors_test": drawn(9, 3)}, "same number of factors"),
        ({"factors": np.array([[None]] * 9)}, "pickle"),
    ],
)
def test_factors_of_a_file_that_cannot_be_used(tmp_path, arrays, words):
    np.savez(tmp_path / "x.npz", x=np.ones((9, 3)), **arrays)
    with pytest.raises(InputError, match=words) as caught:
        read(tmp_path / "x.npz")
    assert len(str(caught.value).splitlines()) == 1
