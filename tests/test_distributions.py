"""Laws of every likelihood and posterior: total mass, extremes, sampling, masks; mixtures and divergences."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal, localcontext

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn
from torch import distributions as D

from isthmus import families
from isthmus.batch import Batch
from isthmus.conditional import Conditional
from isthmus.distributions import continuous, kl_divergence, latent
from isthmus.distributions.columns import Columns
from isthmus.distributions.independent import Independent, LightDistribution, Masked, over_steps
from isthmus.errors import InputError
from isthmus.latent_model import LatentModel
from isthmus.likelihoods import COUNTED, LEVELLED, LIKELIHOODS
from isthmus.priors import StandardNormal
from isthmus.scales import SCALE_FLOOR, FixedScale, LearnedScale
from isthmus.schema import Schema

F32, F64 = torch.float32, torch.float64
COUNTS_UP_TO = 100_000


@dataclass(frozen=True)
class Case:
    """A family with what it gives mass to: bits, grid (levels), counts, unit ([0, 1]) or real."""

    make: Callable[[tuple[int, ...]], families.Family]
    support: str
    levels: int = 2

    def family(self, event: tuple[int, ...], dtype: torch.dtype = F64, shift: float = 0.0) -> families.Family:
        """The family with every learned parameter moved by `shift` (a scale moves ten times as far, in logs)."""
        family = self.make(event).to(dtype)
        with torch.no_grad():
            for parameter in family.parameters():
                parameter.add_(shift)
        return family


def registered() -> dict[str, Case]:
    """Whatever is registered as a likelihood, at several numbers of levels where it has levels."""
    cases = {}
    for name, entry in LIKELIHOODS.items():
        for levels in (2, 7, 256) if name in LEVELLED else (0,):

            def make(event, entry=entry, levels=levels):
                return entry.make(Schema.homogeneous(event_shape=event, kind="real", dtype="float32", levels=levels))

            if levels:
                cases[f"{name}({levels})"] = Case(make, "grid", levels)
            elif name in COUNTED:
                cases[name] = Case(make, "counts")
            elif entry.support.low < 0:
                cases[name] = Case(make, "real")
            else:
                cases[name] = Case(make, "bits" if entry.discrete else "unit")
    return cases


CASES = registered() | {
    "normal(0.1)": Case(lambda event: families.LocationScale(continuous.Normal, event, 0.1), "real"),
    "posterior": Case(families.DiagonalNormal, "real"),
}
every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
REAL = {name: case for name, case in CASES.items() if case.support == "real"}


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


class Given(nn.Module):
    """Stands for a network: its answer is what it is given."""

    def forward(self, raw: Tensor, c: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        return raw


def of(family: families.Family, raw: Tensor):
    """The distribution behind raw outputs (*batch, n, *event)."""
    return Conditional(Given(), family, given_dim=1 + family.event_dim)(raw)


def table(family: families.Family, values: tuple[float, ...], rows: int = 48) -> Tensor:
    """(rows, n, 1) raw outputs: every combination of `values`, or drawn ones where there are too many."""
    if len(values) ** family.raw_per_element <= rows:
        return torch.tensor(list(itertools.product(values, repeat=family.raw_per_element)), dtype=F64)[..., None]
    return torch.tensor(values, dtype=F64)[torch.randint(len(values), (rows, family.raw_per_element))][..., None]


def raws(case: Case, family: families.Family) -> Tensor:
    """(rows, n, 1) raw outputs from the ordinary to the absurd, where all of the mass can still be found."""
    high = (5.0,) if case.support == "counts" else (5.0, 30.0, 1e4)
    return table(family, (-1e4, -30.0, -3.0, 0.0, *high))


def points(case: Case, family: families.Family, raw: Tensor) -> tuple[Tensor, Tensor]:
    """(N, B) values that cover the support and (N, B) weights: sum(weight * f(value)) is the integral of f."""
    if case.support in ("bits", "grid"):
        x = torch.linspace(0, 1, case.levels, dtype=F64)[:, None].expand(-1, len(raw))
        return x, torch.ones_like(x)
    if case.support == "counts":
        x = torch.arange(COUNTS_UP_TO, dtype=F64)[:, None].expand(-1, len(raw))
        return x, torch.ones_like(x)
    if case.support == "unit":
        n = 200_001  # five intervals a length 1 / logit at the largest logit, by Simpson's rule
        x = torch.linspace(0, 1, n, dtype=F64)[:, None].expand(-1, len(raw))
        weight = torch.full((n, 1), 2.0, dtype=F64)
        weight[1::2], weight[0], weight[-1] = 4.0, 1.0, 1.0
        return x, (weight / (3 * (n - 1))).expand_as(x)
    # The line, stretched so that tails of every kind are reached: x = centre + width * sinh(t).
    with torch.no_grad():
        draws = of(family, raw).sample((401,))[..., 0]
    centre = draws.median(0).values
    width = (draws - centre).abs().median(0).values
    t = torch.linspace(-40, 40, 80_001, dtype=F64)[:, None]
    return centre + width * t.sinh(), 1e-3 * width * t.cosh()


def masses(case: Case, family: families.Family, raw: Tensor) -> tuple[Tensor, Tensor]:
    """(N, B) values and what mass lies on each, by log_prob."""
    x, weight = points(case, family, raw)
    with torch.no_grad():
        log_p = of(family, raw.expand(len(x), *raw.shape)).log_prob(x[..., None])
    return x, weight * log_p.exp()


def parts(rows: Tensor, size: int = 8):
    """Rows a few at a time: a hundred thousand values each are a lot of memory."""
    return rows.split(size)


# ------------------------------------------------------------------------------------------------- total mass


@pytest.mark.parametrize("shift", [-0.3, 0.0, 0.3])
@every_case
def test_total_mass_is_one(case, shift):
    family = case.family((1,), shift=shift)
    for raw in parts(raws(case, family)):
        total = masses(case, family, raw)[1].sum(0)
        # 1e-6: the quadrature's own error at the kink of a Laplace; sums are exact to 1e-9
        torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=1e-6)


def test_continuous_bernoulli_integrates_to_one_at_every_logit():
    case = CASES["continuous_bernoulli"]
    family = case.family((1,))
    logits = torch.cat([torch.linspace(-100, 100, 33), torch.tensor([-0.61, -0.6, -0.59, -1e-6, 0.0, 1e-6, 0.6])])
    for raw in parts(logits.double()[:, None, None]):
        total = masses(case, family, raw)[1].sum(0)
        torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=1e-9)  # series joins closed form


def test_continuous_bernoulli_against_fifty_digits():
    with localcontext() as context:
        context.prec = 50
        for logit in (-300.0, -30.0, -0.601, -0.599, -0.101, -0.099, -1e-5, 1e-5, 0.099, 0.101, 0.599, 0.601, 30.0):
            t = Decimal(logit)
            log_norm = (t.exp() - 1) / t
            dist = continuous.ContinuousBernoulli(torch.tensor([logit], dtype=F64))
            for x in (0.0, 0.3, 1.0):
                expected = float(Decimal(x) * t - log_norm.ln())
                assert dist.log_prob(torch.tensor([x], dtype=F64)).item() == pytest.approx(
                    expected, rel=1e-10, abs=1e-10
                )
            # 1e-9: the series for the mean ends at t^3
            assert dist.mean.item() == pytest.approx(float(1 / (1 - (-t).exp()) - 1 / t), abs=1e-9)


# ------------------------------------------------------------------------------------------------- references

REFERENCES = {
    "Bernoulli": lambda d, x: stats.bernoulli(1 / (1 + np.exp(-d.logits.numpy()))).logpmf(x),
    "ContinuousBernoulli": lambda d, x: x * d.logits.numpy() - np.log(np.expm1(d.logits.numpy()) / d.logits.numpy()),
    "Normal": lambda d, x: stats.norm(d.loc, d.scale).logpdf(x),
    "Laplace": lambda d, x: stats.laplace(d.loc, d.scale).logpdf(x),
    "StudentT": lambda d, x: stats.t(d.df, d.loc, d.scale).logpdf(x),
    "Categorical": lambda d, x: np.take_along_axis(
        np.log(np.exp(d.logits.numpy()) / np.exp(d.logits.numpy()).sum(-1, keepdims=True)),
        np.rint(x * (d.levels - 1)).astype(int)[..., None],
        -1,
    )[..., 0],
    "DiscretizedLogistic": lambda d, x: discretised(d, x),
    "BetaBinomial": lambda d, x: stats.betabinom(d.levels - 1, d.a, d.b).logpmf(np.rint(x * (d.levels - 1))),
    "Poisson": lambda d, x: stats.poisson(d.mean).logpmf(x),
    "NegativeBinomial": lambda d, x: stats.nbinom(
        d.log_size.exp().expand(x.shape), 1 / (1 + (d.log_mean - d.log_size).exp())
    ).logpmf(x),
}
"""The same log-density by another hand, for each distribution by its class."""


def discretised(d, x):
    """A logistic's mass between the borders of a level, from the side on which it loses fewer digits."""
    k, logistic = d.levels - 1, stats.logistic(d.loc, d.log_scale.exp())
    low = np.where(x <= 0, -np.inf, x - 0.5 / k)
    high = np.where(x >= 1, np.inf, x + 0.5 / k)
    right = low > d.loc.numpy()
    return np.log(np.where(right, logistic.sf(low) - logistic.sf(high), logistic.cdf(high) - logistic.cdf(low)))


@every_case
def test_log_prob_agrees_with_scipy(case):
    family = case.family((6,), shift=0.02)
    with torch.no_grad():
        dist = of(family, 2 * torch.randn(50, family.raw_per_element, 6, dtype=F64))
        x = dist.sample()
        ours = dist.element_log_prob(x).numpy()
    expected = REFERENCES[type(dist).__name__](dist, x.numpy())
    np.testing.assert_allclose(ours, expected, rtol=1e-8, atol=1e-8)  # scipy's own differences of lgamma


# --------------------------------------------------------------------------------------------------- extremes

ENDS = {
    "bits": (0.0, 1.0),
    "grid": (0.0, 1.0),
    "unit": (0.0, 0.5, 1.0),
    "counts": (0.0, 1.0, 1e3, 1e6),
    "real": (-1e6, -1.0, 0.0, 1e6),
}
ABSURD = (-1e4, -30.0, 0.0, 30.0, 1e4)
SHIFTS = (-100.0, -0.5, 0.0, 1.0)
"""Scales from their floor to 10,000 times the data's; degrees of freedom from 1 to 15; dispersions to both bounds."""


def log_prob_and_gradients(case: Case, shift: float, dtype: torch.dtype, raw: Tensor, x: Tensor):
    """(N, B) log-densities in `dtype` and gradients of their sum; raw (B, n, 1) and x (N,) are given in float32."""
    family = case.family((1,), F32, shift).to(dtype)  # the same parameters to the last bit in both precisions
    raw = raw.to(dtype).expand(len(x), *raw.shape).clone().requires_grad_()
    log_p = of(family, raw).log_prob(x.to(dtype)[:, None, None].expand(-1, raw.shape[1], 1))
    log_p.sum().backward()
    return log_p.detach(), raw.grad, [p.grad for p in family.parameters()]


@pytest.mark.parametrize("shift", SHIFTS)
@every_case
def test_finite_at_the_extremes_in_single_precision(case, shift):
    raw = table(case.family((1,)), ABSURD).to(F32)
    log_p, raw_grad, grads = log_prob_and_gradients(case, shift, F32, raw, torch.tensor(ENDS[case.support]))
    assert log_p.isfinite().all()
    assert raw_grad.isfinite().all()
    assert all(g.isfinite().all() for g in grads)


@pytest.mark.parametrize("shift", SHIFTS)
@every_case
def test_single_precision_equals_double(case, shift):
    raw = torch.cat([table(case.family((1,)), ABSURD), table(case.family((1,)), (-2.0, 0.5, 3.0))]).to(F32)
    x = torch.tensor(ENDS[case.support])
    single, single_grad, _ = log_prob_and_gradients(case, shift, F32, raw, x)
    double, double_grad, _ = log_prob_and_gradients(case, shift, F64, raw, x)
    # A thousandth of a nat, or four digits of what is large.
    torch.testing.assert_close(single.double(), double, rtol=1e-4, atol=1e-3)
    # A gradient that is a difference of counts has the counts' precision.
    slack = 1e-3 + 1e-6 * x.abs().max().item() + 1e-6 * double_grad.abs().max().item()
    torch.testing.assert_close(single_grad.double(), double_grad, rtol=1e-3, atol=slack)


@pytest.mark.parametrize("count", [1e3, 1e4, 1e5, 1e6])
@pytest.mark.parametrize("name", COUNTED)
def test_large_counts_keep_their_digits_in_single_precision(name, count):
    raw = torch.tensor([[[math.log(count)]]])
    for shift in SHIFTS:
        single, double = (
            log_prob_and_gradients(CASES[name], shift, dtype, raw, torch.tensor([count]))[0] for dtype in (F32, F64)
        )
        torch.testing.assert_close(single.double(), double, rtol=1e-4, atol=1e-3)  # a thousandth of a nat


@every_case
def test_gradients_agree_with_differences(case):
    family = case.family((2,), shift=0.03)
    raw = torch.randn(3, family.raw_per_element, 2, dtype=F64, requires_grad=True)
    with torch.no_grad():
        x = of(family, raw).sample()
    assert torch.autograd.gradcheck(lambda r: of(family, r).log_prob(x), raw)


@every_case
def test_mean_and_its_gradient_are_finite_at_the_extremes(case):
    family = case.family((1,), F32)
    raw = table(family, ABSURD).to(F32).requires_grad_()
    mean = of(family, raw).mean
    mean.sum().backward()
    assert mean.isfinite().all()
    assert raw.grad is None or raw.grad.isfinite().all()


# ------------------------------------------------------------------------------------------ means and samples


@pytest.mark.parametrize("shift", [-0.1, 0.1])
@every_case
def test_mean_is_the_integral(case, shift):
    family = case.family((1,), shift=shift)
    for raw in parts(raws(case, family)):
        x, mass = masses(case, family, raw)
        with torch.no_grad():
            mean = of(family, raw).mean[..., 0]
        torch.testing.assert_close((x * mass).sum(0), mean, rtol=1e-6, atol=1e-6)  # the quadrature's error


@every_case
def test_mean_of_samples_is_the_mean(case):
    family = case.family((1,), F32)
    n = 20_000
    with torch.no_grad():
        dist = of(family, table(family, (-3.0, 0.0, 2.0), rows=9).to(F32))
        draws = dist.sample((n,)).double()
    error = draws.std(0) / math.sqrt(n)
    # Five standard errors; 1e-6 for means so near an end that no draw leaves it.
    assert ((draws.mean(0) - dist.mean.double()).abs() <= 5 * error + 1e-3 * (draws.std(0) == 0) + 1e-6).all()


@pytest.mark.parametrize("dtype", [F32, F64])
@every_case
def test_samples_follow_log_prob(case, dtype):
    family = case.family((1,), shift=0.05)
    n = 10_000
    # Counts and single precision need rates, and scales beside locations, that can be told apart.
    values = {"counts": (-30.0, -3.0, 0.0, 3.0), "real": (-3.0, 0.0, 3.0)}.get(
        case.support, (-30.0, -3.0, 0.0, 3.0, 30.0)
    )
    for raw in parts(table(family, values, 25)):
        x, mass = masses(case, family, raw)
        with torch.no_grad():
            draws = of(family.to(dtype), raw.to(dtype)).sample((n,))[..., 0].double()
        family.to(F64)
        below = mass.cumsum(0) - (0.5 * mass if case.support in ("unit", "real") else 0.0)
        for j in range(len(raw)):
            ordered = draws[:, j].sort().values
            if case.support in ("unit", "real"):
                expected = torch.from_numpy(np.interp(ordered, x[:, j], below[:, j]))
                seen = torch.arange(1, n + 1, dtype=F64) / n
            else:
                expected = below[:, j]
                seen = torch.searchsorted(ordered, x[:, j].contiguous() + 1e-4, right=True) / n
            # Kolmogorov: 2.4 / sqrt(n) is passed by chance once in 50,000 times.
            assert (seen - expected).abs().max() < 2.4 / math.sqrt(n)


@pytest.mark.parametrize("log_concentration", [-7.0, -3.0, 0.0, 5.0, 12.0])
def test_beta_binomial_draws_both_ends_at_every_concentration(log_concentration):
    family = CASES["beta_binomial(7)"].family((1,), F32)
    raw = torch.tensor([[[0.0], [log_concentration - 1]]])  # the family adds one
    draws = of(family, raw).sample((20_000,)).double()
    assert abs(draws.mean() - 0.5) < 5 * draws.std().clamp(min=0.05) / math.sqrt(20_000)  # five standard errors


@pytest.mark.parametrize("event", [(4,), (2, 3), (3, 2, 2)])
@pytest.mark.parametrize("dtype", [F32, F64])
@every_case
def test_shape_type_and_support_of_samples(case, dtype, event):
    family = case.family(event, dtype)
    with torch.no_grad():
        dist = of(family, 3 * torch.randn(5, family.raw_per_element, *event, dtype=dtype))
        assert dist.batch_shape == (5,)
        assert dist.event_shape == event
        assert dist.mean.shape == (5, *event)
        for sample_shape in ((), (3,), (3, 2)):
            x = dist.sample(torch.Size(sample_shape))
            assert x.shape == (*sample_shape, 5, *event)
            assert x.dtype == dtype
            assert x.isfinite().all()
            if case.support in ("bits", "grid"):
                level = x * (case.levels - 1)
                assert torch.allclose(level, level.round(), atol=1e-4)
                assert ((x >= 0) & (x <= 1)).all()
            elif case.support == "unit":
                assert ((x >= 0) & (x <= 1)).all()
            elif case.support == "counts":
                assert torch.equal(x, x.round())
                assert (x >= 0).all()


@every_case
def test_samples_have_a_log_prob_of_their_shape(case):
    family = case.family((4,))
    with torch.no_grad():
        dist = of(family, torch.randn(5, family.raw_per_element, 4, dtype=F64))
        x = dist.sample(torch.Size((3, 2)))
        log_p = dist.log_prob(x)
        assert log_p.shape == (3, 2, 5)
        torch.testing.assert_close(log_p[1, 1], dist.log_prob(x[1, 1]))


@pytest.mark.parametrize("event", [(4,), (2, 3), (3, 2, 2)])
@every_case
def test_an_event_is_the_sum_of_its_elements(case, event):
    family = case.family(event)
    with torch.no_grad():
        raw = torch.randn(2, 5, family.raw_per_element, *event, dtype=F64)  # two draws of each of five rows
        x = of(family, raw[0]).sample()
        log_p = of(family, raw).log_prob(x)  # one x for both draws
        assert log_p.shape == (2, 5)
        for draw in range(2):
            elements = of(family, raw[draw]).element_log_prob(x)
            assert elements.shape == (5, *event)
            torch.testing.assert_close(log_p[draw], elements.flatten(1).sum(1))  # another order of summing


@pytest.mark.parametrize("name", REAL)
def test_moving_and_stretching_moves_and_stretches(name):
    family = REAL[name].family((3,))
    with torch.no_grad():
        dist = of(family, torch.randn(4, family.raw_per_element, 3, dtype=F64))
        noise = dist.noise(2, 4)
        torch.testing.assert_close(dist.draw(noise).z, dist.loc + dist.scale * noise)
        # Far from zero only the distance counts: subtracted before it is divided.
        loc, x = torch.randint(-9, 9, (2, 4, 3)).double() / 8  # exact whatever is added
        rest = (dist.log_scale, *([dist.df] if hasattr(dist, "df") else []))
        near, far = (type(dist)(loc + away, *rest).log_prob(x + away) for away in (0.0, 2.0**30))
        assert torch.equal(near, far)


@pytest.mark.parametrize("shape", [(), (3,)])
def test_a_learned_scale_has_a_floor_and_starts_at_one(shape):
    scale = LearnedScale(shape).double()
    # 1e-3: the floor is smooth, and lifts a scale of one by its own height
    assert torch.allclose(scale().exp(), torch.ones(shape, dtype=F64), atol=2e-3)
    with torch.no_grad():
        scale.raw.fill_(-1e4)
    assert torch.allclose(scale().exp(), torch.full(shape, SCALE_FLOOR, dtype=F64))


@pytest.mark.parametrize("scale", [0.0, -1.0, math.nan])
def test_a_fixed_scale_is_positive(scale):
    with pytest.raises(InputError, match="positive"):
        FixedScale(scale)


# ------------------------------------------------------------------------------------------------------ masks

GARBAGE = (math.nan, math.inf, -math.inf, 1e30, -7.0)


@every_case
def test_garbage_under_a_mask_changes_no_number_and_no_gradient(case):
    event = (3, 2)
    family = case.family(event)
    mask = torch.tensor([[1, 1, 1], [1, 1, 0], [1, 0, 0], [0, 1, 0]], dtype=torch.bool)
    raw = torch.randn(2, 4, family.raw_per_element, *event, dtype=F64, requires_grad=True)
    with torch.no_grad():
        x = of(family, raw[0]).sample()

    def scored(values: Tensor):
        inputs = [raw, *family.parameters()]
        log_p = Masked(of(family, raw), over_steps(mask, 2)).log_prob(values)
        return log_p.detach(), torch.autograd.grad(log_p.sum(), inputs, allow_unused=True)

    log_p, grads = scored(x)
    by_element = of(family, raw).element_log_prob(x) * mask[..., None]
    torch.testing.assert_close(log_p, by_element.flatten(2).sum(-1).detach())
    hidden = ~mask[:, None, :, None].expand(2, *raw.shape[1:])
    assert (grads[0][hidden] == 0).all()
    for garbage in GARBAGE:
        dirty_p, dirty_grads = scored(torch.where(mask[..., None], x, garbage))
        assert torch.equal(dirty_p, log_p)
        assert all(torch.equal(a, b) for a, b in zip(dirty_grads, grads) if a is not None)
        dirty_raw = torch.where(hidden, garbage, raw.detach())
        torch.testing.assert_close(Masked(of(family, dirty_raw), over_steps(mask, 2)).log_prob(x).detach(), log_p)


@every_case
def test_a_mask_of_ones_changes_nothing(case):
    family = case.family((3, 2))
    with torch.no_grad():
        dist = of(family, torch.randn(4, family.raw_per_element, 3, 2, dtype=F64))
        x = dist.sample()
        masked = Masked(dist, over_steps(torch.ones(4, 3, dtype=torch.bool), 2))
        torch.testing.assert_close(masked.log_prob(x), dist.log_prob(x))
        assert torch.equal(masked.mean, dist.mean)


def test_a_sample_is_zero_under_a_mask():
    base = continuous.Normal(torch.ones(4, 3, 2), torch.zeros(()), 2)
    mask = torch.arange(3) < torch.tensor([1, 2, 3, 1])[:, None]
    x = Masked(base, over_steps(mask, base.event_dim)).sample(torch.Size((5,)))
    assert x.shape == (5, 4, 3, 2)
    assert torch.equal(x != 0, mask[..., None].expand_as(x))


# --------------------------------------------------------------------------------------- mixtures, divergences


def mixture(batch: tuple[int, ...] = (), m: int = 4, d: int = 3) -> tuple[latent.Mixture, D.Distribution]:
    """A mixture of ours, and torch's of the same numbers."""
    logits, loc, log_scale = torch.randn(m), 2 * torch.randn(*batch, m, d), 0.5 * torch.randn(*batch, m, d)
    logits, loc, log_scale = logits.double(), loc.double(), log_scale.double()
    theirs = D.MixtureSameFamily(
        D.Categorical(logits=logits.expand(*batch, m)), D.Independent(D.Normal(loc, log_scale.exp()), 1)
    )
    return latent.Mixture(logits.log_softmax(-1), continuous.Normal(loc, log_scale)), theirs


@pytest.mark.parametrize("batch", [(), (5,)])
def test_mixture_agrees_with_torch(batch):
    ours, theirs = mixture(batch)
    for shape in ((), (7,), (7, 2)):
        z = theirs.sample(torch.Size(shape))
        torch.testing.assert_close(ours.log_prob(z), theirs.log_prob(z), rtol=1e-12, atol=1e-12)  # rounding
    torch.testing.assert_close(ours.mean, theirs.mean)
    assert ours.batch_shape == theirs.batch_shape
    assert ours.event_shape == theirs.event_shape


def test_a_mixture_is_the_same_for_many_points_as_for_few():
    ours, theirs = mixture(m=40, d=30)
    parameters = (ours.log_weight, ours.components.loc, ours.components.log_scale)
    logits, loc, log_scale = (parameter.clone().requires_grad_() for parameter in parameters)
    z = theirs.sample((3, 40)).requires_grad_()
    given = (z, logits, loc, log_scale)

    def total(points: Tensor) -> Tensor:
        mixed = latent.Mixture(logits.log_softmax(-1), continuous.Normal(loc, log_scale))
        return torch.stack([mixed.log_prob(p).square().sum() for p in points.split(1)]).sum()

    assert z[:1].shape[:-1].numel() * loc.numel() < latent.MIN_PRODUCT_NUMBERS <= z.numel() * len(loc)
    many = latent.Mixture(logits.log_softmax(-1), continuous.Normal(loc, log_scale)).log_prob(z).square().sum()
    torch.testing.assert_close(many, total(z), rtol=1e-12, atol=0)  # rounding
    for one, other in zip(torch.autograd.grad(many, given), torch.autograd.grad(total(z), given)):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)  # rounding of products


@pytest.mark.parametrize("scale", [1e-2, 1e-3])
def test_the_gradient_of_narrow_normals_keeps_its_digits_in_single_precision(scale):
    loc = 3 * torch.randn(20, 8)
    z = loc[torch.randint(20, (1000,))] + scale * torch.randn(1000, 8)
    given = [z, loc, torch.full((20, 8), math.log(scale))]
    weight = torch.rand(1000, 20) * (z[:, None] - loc).square().sum(-1).lt(100 * scale**2)

    def gradients(dtype: torch.dtype) -> tuple[Tensor, ...]:
        points, *parameters = (part.to(dtype).requires_grad_() for part in given)
        value = (
            latent.EachNormal.apply(points, *parameters)
            if dtype == F32
            else continuous.Normal(*parameters).log_prob(points[:, None, :])
        )
        return torch.autograd.grad((value * weight).sum(), (points, *parameters))

    for single, double in zip(gradients(F32), gradients(F64)):
        error = (single - double).square().mean().sqrt() / double.square().mean().sqrt()
        assert error < 1e-3  # rounding of points: 3 / 1e-3 times 6e-8


@pytest.mark.parametrize("case", ["subclass", "number", "shared scale", "one point", "dtype"])
def test_a_mixture_of_many_components_takes_all_that_one_of_few_takes(case):
    class Wide(continuous.Normal):
        def element_log_prob(self, x: Tensor) -> Tensor:
            return super().element_log_prob(x) - 1

    loc, z = torch.randn(300, 300, dtype=F64), torch.randn(4, 300, dtype=F64)
    normal = Wide(loc, torch.zeros_like(loc)) if case == "subclass" else continuous.Normal(loc, torch.zeros_like(loc))
    normal = continuous.Normal(loc, 0.5) if case == "number" else normal
    normal = continuous.Normal(loc, torch.zeros(300, 1, dtype=F64)) if case == "shared scale" else normal
    z = {"one point": z[0], "dtype": z.float()}.get(case, z)
    mixed = latent.Mixture(torch.zeros(300, dtype=F64), normal)
    expected = normal.log_prob(z[..., None, :]).logsumexp(-1)
    torch.testing.assert_close(mixed.log_prob(z), expected, rtol=1e-12, atol=0)


def test_the_gradient_of_normals_by_products_is_right_twice():
    given = [torch.randn(*shape, dtype=F64, requires_grad=True) for shape in ((7, 3), (4, 3), (4, 3))]
    assert torch.autograd.gradcheck(latent.EachNormal.apply, given)
    assert torch.autograd.gradgradcheck(latent.EachNormal.apply, given)
    z, loc, log_scale = given
    alone = continuous.Normal(loc, log_scale).log_prob(z[:, None, :])
    torch.testing.assert_close(latent.EachNormal.apply(*given), alone, rtol=1e-12, atol=1e-12)  # rounding
    each = torch.vmap(lambda point: latent.EachNormal.apply(point[None], loc, log_scale)[0])(z)
    torch.testing.assert_close(each, alone, rtol=1e-12, atol=1e-12)


def test_normals_with_full_covariances_agree_with_torch():
    random = torch.randn(3, 4, 4, dtype=F64)
    loc, covariance = torch.randn(3, 4, dtype=F64), random @ random.mT + 0.1 * torch.eye(4, dtype=F64)
    ours, theirs = latent.FullNormal.of(loc, covariance), D.MultivariateNormal(loc, covariance)
    for shape in ((), (7,), (7, 2)):
        z = torch.randn(*shape, 1, 4, dtype=F64)
        torch.testing.assert_close(ours.log_prob(z), theirs.log_prob(z), rtol=1e-10, atol=1e-10)  # rounding
    torch.testing.assert_close(ours.std, theirs.stddev)
    draws = ours.sample((200_000,))
    # The standard error of a covariance of 200,000 draws is below a hundredth of the variances.
    for m in range(3):
        torch.testing.assert_close(draws[:, m].T.cov(), covariance[m], rtol=0, atol=0.03 * float(covariance[m].max()))
    mixed = latent.Mixture(torch.randn(3, dtype=F64).log_softmax(-1), ours)
    same = D.MixtureSameFamily(D.Categorical(logits=mixed.log_weight), theirs)
    z = torch.randn(5, 4, dtype=F64)
    torch.testing.assert_close(mixed.log_prob(z), same.log_prob(z), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(mixed.sample((100_000,)).mean(0), same.mean, rtol=0, atol=0.05)  # 5 standard errors


def test_mixture_is_finite_far_away_in_single_precision():
    ours, _ = mixture()
    single = latent.Mixture(
        ours.log_weight.float(), continuous.Normal(ours.components.loc.float(), ours.components.log_scale.float())
    )
    z = torch.tensor([[1e4, -1e4, 1e4], [0.0, 0.0, 0.0]], requires_grad=True)
    log_p = single.log_prob(z)
    log_p.sum().backward()
    assert log_p.isfinite().all()
    assert z.grad.isfinite().all()


@pytest.mark.parametrize("batch", [(), (2,)])
def test_mixture_samples_follow_it(batch):
    ours, theirs = mixture(batch)
    n = 20_000
    z = ours.sample((n,))
    assert z.shape == (n, *batch, 3)
    assert ours.sample().shape == (*batch, 3)
    error = theirs.variance.sqrt() / math.sqrt(n)
    assert ((z.mean(0) - theirs.mean).abs() < 5 * error).all()  # five standard errors
    # One coordinate of all: its distribution is the mixture of its marginals.
    weight, loc, scale = ours.log_weight.exp(), ours.components.loc[..., 0], ours.components.scale[..., 0]
    for j in np.ndindex(*batch):
        marginal = stats.kstest(
            z[(slice(None), *j, 0)],
            lambda v, j=j: (weight.numpy() * stats.norm(loc[j], scale[j]).cdf(v[:, None])).sum(-1),
        )
        assert marginal.pvalue > 1e-4
    # The coordinates of one draw come of one component: the covariance is the mixture's.
    assert torch.allclose(z.var(0), theirs.variance, rtol=0.1)  # ten percent is over five standard errors
    gap = ours.components.loc - ours.mean[..., None, :]
    expected = (weight[:, None] * gap[..., :1] * gap).sum(-2)[..., 1:]
    centred = z - z.mean(0)
    products = centred[..., :1] * centred[..., 1:]
    assert ((products.mean(0) - expected).abs() < 5 * products.std(0) / math.sqrt(n)).all()  # five standard errors


def normals(*shape: int) -> continuous.Normal:
    return continuous.Normal(torch.randn(*shape).double(), 0.7 * torch.randn(*shape).double())


@pytest.mark.parametrize("p_shape", [(6, 4), (4,)])
def test_exact_divergence_of_normals(p_shape):
    q, p = normals(6, 4), normals(*p_shape)
    exact = kl_divergence.normal_kl(q, p)
    torch.testing.assert_close(exact, D.kl_divergence(D.Normal(q.loc, q.scale), D.Normal(p.loc, p.scale)))
    z = q.rsample((40_000,))
    draws = q.element_log_prob(z) - p.element_log_prob(z)
    error = draws.std(0) / math.sqrt(len(draws))
    assert ((draws.mean(0) - exact).abs() < 5 * error).all()  # five standard errors
    assert (exact >= 0).all()
    assert torch.equal(kl_divergence.normal_kl(q, q), torch.zeros(6, 4, dtype=F64))


def test_divergence_is_exact_for_normals_alone():
    q, p = normals(6, 4), normals(4)
    assert torch.equal(kl_divergence.kl_divergence(q, p), kl_divergence.normal_kl(q, p))
    assert kl_divergence.kl_divergence(q, mixture((), d=4)[0]) is None
    assert kl_divergence.kl_divergence(latent.Delta(q.loc), p) is None


def test_a_mixture_of_one_is_a_normal():
    q, p = normals(6, 4), normals(1, 4)
    one = latent.Mixture(torch.zeros(1, dtype=F64), p)
    z = q.rsample((3,))
    alone = continuous.Normal(p.loc[0], p.log_scale[0])
    torch.testing.assert_close(one.log_prob(z), alone.log_prob(z))
    torch.testing.assert_close(one.mean, alone.mean)


@pytest.mark.parametrize("distribution", [continuous.Normal, continuous.Laplace])
def test_a_known_standard_deviation_is_that_of_draws(distribution):
    given = distribution(torch.zeros(2, dtype=F64), torch.tensor([-1.0, 0.5], dtype=F64))
    torch.testing.assert_close(given.sample((200_000,)).std(0), given.std, rtol=0.02, atol=0)
    assert continuous.ContinuousBernoulli(torch.zeros(2)).std is None


def test_a_point_is_its_own_mean_and_every_draw():
    z = torch.randn(5, 3)
    point = latent.Delta(z)
    assert torch.equal(point.mean, z)
    assert torch.equal(point.draw(point.noise(4, 5)).z.expand(4, 5, 3), z.expand(4, 5, 3))
    assert torch.equal(point.sample(torch.Size((2,))), z.expand(2, 5, 3))
    assert torch.equal(point.log_prob(z), torch.zeros(5))


@pytest.mark.parametrize("shared", [True, False])
def test_a_shared_scale_is_the_same_scale_for_all(shared):
    loc, x = torch.randn(2, 5, 3, 4).double(), torch.randn(5, 3, 4).double()
    log_scale = torch.tensor(0.3, dtype=F64)
    dist = continuous.Normal(loc, log_scale if shared else log_scale.expand(3, 4), event_dim=2)
    expected = D.Independent(D.Normal(loc, log_scale.exp()), 2).log_prob(x)
    torch.testing.assert_close(dist.log_prob(x), expected)


# ------------------------------------------------------------------------------- rows, and parameters held fixed


class Codebook(LightDistribution):
    """One of M vectors for each row: logits (B, M) of its own, vectors (M, D) of all."""

    def __init__(self, logits: Tensor, vectors: Tensor):
        super().__init__(logits.shape[:1], vectors.shape[1:])
        self.logits, self.vectors = logits, vectors


class Bumped(continuous.Normal):
    """A normal whose rows have something more than a normal's have."""

    def __init__(self, loc: Tensor, log_scale: Tensor, bump: Tensor):
        super().__init__(loc, log_scale)
        self.bump = bump


def test_rows_are_taken_only_out_of_what_says_which_tensors_hold_them():
    loc, index = torch.randn(5, 3), torch.tensor([4, 1])
    for scale in (torch.randn(5, 3), torch.randn(3), torch.tensor(0.3), 0.3):
        some = continuous.Normal(loc, scale).rows(index)
        assert some.batch_shape == (2,)
        x = torch.randn(2, 3)
        torch.testing.assert_close(some.log_prob(x), continuous.Normal(loc, scale).log_prob(x[[0, 1, 0, 0, 0]])[index])
    square = continuous.Normal(torch.randn(3, 3), torch.arange(3.0))  # as many rows as columns: the scale is shared
    assert torch.equal(square.rows(torch.tensor([2])).log_scale, torch.arange(3.0))
    one = continuous.Normal(loc, torch.zeros(1, 3)).rows(index)  # a scale of one row is that of all
    assert one.log_scale.shape == (1, 3)
    assert torch.equal(latent.Delta(loc).rows(index).loc, loc[index])
    shared = continuous.Normal(torch.randn(3), torch.zeros(3))  # of no batch
    assert shared.rows(index) is shared
    assert Codebook(torch.randn(5, 7), torch.randn(7, 3)).rows(index) is None
    assert Bumped(loc, torch.zeros(3), torch.randn(5)).rows(index) is None


def test_a_mixture_has_as_many_rows_as_its_weights_or_its_components():
    weight, loc = torch.randn(5, 4).log_softmax(-1), torch.randn(4, 3)
    mixed = latent.Mixture(weight, continuous.Normal(loc, torch.zeros(4, 3)))
    assert mixed.batch_shape == (5,)
    assert mixed.sample().shape == (5, 3)
    assert mixed.sample((2,)).shape == (2, 5, 3)
    assert mixed.rows(torch.tensor([0])) is None


def test_no_gradient_reaches_parameters_that_are_held_fixed():
    a = torch.randn(4, 2, requires_grad=True)
    for one in (
        continuous.Normal(a, a),
        Columns([continuous.Normal(a, a), continuous.Normal(a, a)]),
        Masked(continuous.Normal(a, a), torch.ones(4, 2, dtype=torch.bool)),
    ):
        x = torch.zeros(4, *one.event_shape)
        assert one.log_prob(x).requires_grad
        assert not one.stopped().log_prob(x).requires_grad

    class Flow(continuous.Normal):
        def __init__(self):
            super().__init__(a, a)
            self.net = nn.Linear(2, 2)

    with pytest.raises(NotImplementedError, match="must define stopped"):
        Flow().stopped()


class Shifted(Independent):
    """A distribution of the user's that happens to have an attribute `base`."""

    def __init__(self, base: continuous.Normal):
        super().__init__(base.batch_shape + base.event_shape, 1)
        self.base = base

    def element_log_prob(self, x: Tensor) -> Tensor:
        return self.base.element_log_prob(x - 100)


def test_what_was_not_observed_is_left_out_of_the_likelihood_itself():
    class Decoder(nn.Module):
        def forward(self, z, c=None, mask=None):
            return Shifted(continuous.Normal(z, torch.zeros(2)))

    encoder = Conditional(nn.Linear(2, 4), families.DiagonalNormal((2,)))
    model = LatentModel(encoder, Decoder(), StandardNormal(2))
    z, x = torch.randn(1, 5, 2), torch.randn(5, 2)
    seen = torch.ones(5, 2, dtype=torch.bool)
    torch.testing.assert_close(model.at(Batch(x, observed=seen), z).log_px, model.at(Batch(x), z).log_px)
