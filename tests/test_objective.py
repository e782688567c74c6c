"""Laws of losses: their algebra, what they read of a pass, bounds and penalties against what is known exactly."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import special
from torch import Tensor, nn
from torch import distributions as D

from isthmus import corruption, families, priors
from isthmus.batch import Batch
from isthmus.conditional import Conditional
from isthmus.distributions import continuous, latent
from isthmus.errors import InputError
from isthmus.forward_pass import Pass
from isthmus.latent_model import LatentModel
from isthmus.nets.conv import ConvEncoder
from isthmus.nets.mlp import MLP
from isthmus.nets.sparse import JumpReLU
from isthmus.objective import Objective, Schedule, Term, as_objective, warmup, weight_at
from isthmus.terms.bounds import iwae, kl, nll
from isthmus.terms.penalties import contraction, kl_sparsity, l0, l1

F64 = torch.float64
BATCH = Batch(torch.zeros(9, 2, dtype=F64))
HALF = torch.tensor(0.5, dtype=F64)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


PRIORS = {
    "normal": lambda: priors.StandardNormal(2),
    "mixture": lambda: priors.Mixture(2, 3),
    "full_mixture": lambda: priors.Mixture(2, 3, full=True),
    "conditional": lambda: priors.ConditionalPrior(Conditional(MLP((3,), (), 4), families.DiagonalNormal((2,)))),
}


def vae(prior: str = "normal", *, d: int = 5, hidden: tuple[int, ...] = (7,), **extra) -> LatentModel:
    """A small variational autoencoder in double precision, two latent dimensions, a condition of three numbers."""
    return LatentModel(
        Conditional(MLP((d,), hidden, 4, condition=3), families.DiagonalNormal((2,))),
        Conditional(MLP((2,), hidden, d, condition=3), families.LocationScale(continuous.Normal, (d,))),
        PRIORS[prior](),
        **extra,
    ).double()


def autoencoder(units: int = 6, rule: nn.Module | None = None, d: int = 5) -> LatentModel:
    """A small plain autoencoder in double precision."""
    return LatentModel(
        Conditional(MLP((d,), (), units), families.Point((units,), rule)),
        Conditional(MLP((units,), (), d), families.LocationScale(continuous.Normal, (d,), 1.0)),
        priors.Flat(),
    ).double()


def rows(n: int = 9, d: int = 5) -> Batch:
    return Batch(torch.randn(n, d, dtype=F64), torch.randn(n, 3, dtype=F64))


def plain(n: int = 9, d: int = 5) -> Batch:
    return Batch(torch.randn(n, d, dtype=F64))


def value(loss: Term | Objective, model: LatentModel, batch: Batch, run: Pass, progress: Tensor = HALF) -> float:
    return as_objective(loss)(model, batch, run, progress)[0].item()


# ----------------------------------------------------------------------------------------------------- algebra


def test_weights_multiply():
    model, batch = vae(), rows()
    run = model(batch)
    once = value(kl, model, batch, run)
    assert value(0.5 * (2.0 * kl), model, batch, run) == once
    assert value(kl * 3, model, batch, run) == pytest.approx(3 * once)
    assert value(2 * kl * 3, model, batch, run) == pytest.approx(6 * once)
    assert value(0 * kl, model, batch, run) == 0
    assert value(-1 * kl, model, batch, run) == -once
    assert kl.weight == 1.0  # weighting a term makes another
    assert (4.0 * kl).name == "kl"


@pytest.mark.parametrize("order", [lambda b, s: b * s * kl, lambda b, s: s * b * kl, lambda b, s: b * (s * kl)])
def test_schedules_multiply_like_numbers(order):
    model, batch = vae(), rows()
    run = model(batch)
    once = value(kl, model, batch, run)
    loss = order(4.0, warmup(0.2))
    for progress, share in ((0.0, 0.0), (0.05, 0.25), (0.1, 0.5), (0.2, 1.0), (0.7, 1.0), (1.0, 1.0)):
        now = torch.tensor(progress, dtype=F64)
        assert value(loss, model, batch, run, now) == pytest.approx(4 * share * once, rel=1e-12)
        assert weight_at(loss.weight, progress) == pytest.approx(4 * share, rel=1e-6)  # progress in single precision


def test_schedules_multiply_each_other():
    falling = Schedule(lambda progress: 1 - progress)
    both = warmup(0.5) * falling
    assert weight_at(both, 0.25) == pytest.approx(0.5 * 0.75)
    assert weight_at(2.0 * both * 3, 0.25) == pytest.approx(6 * 0.5 * 0.75)


def test_warmup_rises_once_and_none_is_one():
    assert warmup(0) == 1.0
    assert (warmup(0.0) * kl).weight == 1.0
    assert [weight_at(warmup(1.0), p) for p in (0.0, 0.5, 1.0)] == [0.0, 0.5, 1.0]
    for fraction in (-0.1, 1.1):
        with pytest.raises(InputError, match="from 0 to 1"):
            warmup(fraction)


def test_cycles_rise_again_within_the_warmup_and_stay_at_one_after_it():
    places = (0.0, 0.1, 0.2, 0.39, 0.4, 0.5, 0.6, 0.79, 0.8, 1.0)
    values = [weight_at(warmup(0.8, 2), place) for place in places]
    assert values == pytest.approx([0, 0.5, 1, 1, 0, 0.5, 1, 1, 1, 1], abs=1e-5)
    with pytest.raises(InputError, match="cycles must be an integer >= 1, got 0"):
        warmup(0.5, 0)


def test_a_target_enters_the_loss_by_the_distance_of_the_mean():
    values = torch.tensor([1.0, 2.0, 6.0])
    term = 10.0 * Term(lambda model, batch, out: values, "kl", target=4.0 * warmup(0.5))
    loss = as_objective(term)
    rows = Batch(torch.zeros(3, 1))
    for progress, expected in ((0.0, 30.0), (0.25, 10.0), (1.0, 10.0)):
        total, (logged,) = loss(None, rows, None, torch.tensor(progress))
        assert float(total) == pytest.approx(expected)
        assert float(logged) == 3.0
        assert float(loss.selection_loss([logged], torch.tensor(progress))) == pytest.approx(expected)


@pytest.mark.parametrize(
    "make",
    [
        lambda: kl + kl,
        lambda: 0.5 * kl + 0.5 * kl,
        lambda: (nll + kl) + kl,
        lambda: kl + (nll + kl),
        lambda: (nll + kl) + (contraction + nll),
        lambda: iwae(3) + iwae(5),
    ],
)
def test_two_terms_of_one_name_are_an_error(make):
    with pytest.raises(InputError, match="must be distinct"):
        make()


def test_sums_of_sums_are_sums():
    model, batch = vae(), rows()
    run = model(batch, 4)
    a, b, c = 2.0 * nll, warmup(1.0) * kl, 0.1 * iwae(4)
    expected = (
        2 * value(nll, model, batch, run) + 0.5 * value(kl, model, batch, run) + 0.1 * value(iwae(4), model, batch, run)
    )
    for loss in (a + b + c, a + (b + c), (a + b) + c, Objective([a]) + (b + Objective([c]))):
        assert loss.names == ["nll", "kl", "iwae"]
        assert value(loss, model, batch, run) == pytest.approx(expected, rel=1e-12)


def test_terms_are_reported_unweighted_in_the_order_of_their_names():
    model, batch = vae(), rows()
    run = model(batch)
    loss = 3.0 * kl + 0.5 * nll
    total, values = loss(model, batch, run, HALF)
    assert loss.names == ["kl", "nll"]
    torch.testing.assert_close(values[0], run.kl.sum(-1).mean())
    torch.testing.assert_close(values[1], -run.log_px.mean())
    torch.testing.assert_close(total, 3 * values[0] + 0.5 * values[1])


def test_a_loss_draws_as_many_as_its_most_demanding_term():
    assert as_objective(nll).draws == 1
    assert (nll + kl + iwae(7)).draws == 7


@pytest.mark.parametrize("make", [lambda: "2" * kl, lambda: kl * kl, lambda: kl + 1.0, lambda: (nll + kl) + 1.0])
def test_what_is_no_weight_or_term_is_refused(make):
    with pytest.raises((TypeError, AttributeError)):
        make()


# ------------------------------------------------------------------------------------------------------ passes


def forbid(distribution, name: str) -> None:
    def never(*arguments):
        raise AssertionError(f"{name} was computed, but no term reads it")

    distribution.log_prob = never


@pytest.mark.parametrize(
    ("loss", "unread"),
    [
        (nll, ("q", "prior")),
        (kl, ("q", "prior", "px")),
        (nll + kl, ("q", "prior")),
        (as_objective(kl_sparsity(0.1)), ("q", "prior", "px")),
    ],
    ids=["nll", "kl", "elbo", "sparsity"],
)
def test_what_a_loss_does_not_read_is_not_computed(loss, unread):
    model, batch = vae(), rows()
    run = model(batch)
    for name in unread:
        forbid(getattr(run, name), name)
    assert math.isfinite(value(loss, model, batch, run))


def test_a_density_is_computed_once():
    model, batch = vae("mixture"), rows()
    run = model(batch, 3)
    calls = []
    for name in ("q", "prior", "px"):
        distribution = getattr(run, name)

        def counted(x, name=name, log_prob=distribution.log_prob):
            calls.append(name)
            return log_prob(x)

        distribution.log_prob = counted
    value(nll + kl + iwae(3), model, batch, run)
    assert sorted(calls) == ["prior", "px", "q"]


@pytest.mark.parametrize("prior", PRIORS)
def test_shapes_of_a_pass(prior):
    model, batch = vae(prior), rows()
    run = model(batch, 4)
    assert run.z.shape == (4, 9, 2)
    assert run.log_px.shape == run.log_pz.shape == run.log_qz.shape == (4, 9)
    assert run.kl.shape == (9, 1 if "mixture" in prior else 2)
    torch.testing.assert_close(run.log_qz, run.q.log_prob(run.z))
    torch.testing.assert_close(run.log_px, model.likelihood(run.z, batch.c).log_prob(batch.x))


def test_a_corruption_damages_the_input_and_not_the_target():
    batch = rows()
    blind = vae(corruption=corruption.Mask(1.0))
    run = blind(batch)
    torch.testing.assert_close(run.q.loc, blind.posterior(torch.zeros_like(batch.x), batch.c).loc)
    torch.testing.assert_close(run.log_px, run.px.log_prob(batch.x))
    paired = batch._replace(clean=torch.randn_like(batch.x))
    run = blind(paired)
    torch.testing.assert_close(run.log_px, run.px.log_prob(paired.clean))


def test_the_volume_of_the_scaling_is_taken_once():
    batch = rows()
    model = vae(log_volume=1.7)
    run = model(batch, 2)
    torch.testing.assert_close(run.log_px, run.px.log_prob(batch.x) - 1.7)
    model.log_volume = 0.0
    torch.testing.assert_close(run.log_pz, run.prior.log_prob(run.z))  # codes are not scaled


def test_a_padded_step_takes_no_volume_and_costs_nothing():
    d = (4, 3)
    mask = torch.arange(4) < torch.tensor([1, 2, 4])[:, None]
    model = LatentModel(
        Conditional(MLP(d, (), 4), families.DiagonalNormal((2,)), 2),
        Conditional(MLP((2,), (), 12), families.LocationScale(continuous.Normal, d)),
        priors.StandardNormal(2),
        log_volume=12 * 0.3,  # 0.3 an element
    ).double()
    x = torch.randn(3, *d, dtype=F64) * mask[..., None]
    run = model(Batch(x, mask=mask), 2)
    elements = model.likelihood(run.z).element_log_prob(x) - 0.3
    torch.testing.assert_close(run.log_px, (elements * mask[..., None]).flatten(2).sum(-1))


@pytest.mark.parametrize("weighted", [False, True])
def test_a_divergence_without_a_closed_form_is_the_draws_own(weighted):
    model, batch = vae("mixture"), rows()
    run = model(batch, 4)
    weight = torch.rand(4, 9, dtype=F64) if weighted else torch.ones(4, 9, dtype=F64)
    weight = weight / weight.sum(0)
    run._log_weight = weight.log() if weighted else None
    assert run.kl.shape == (9, 1)
    torch.testing.assert_close(run.kl[:, 0], (weight * (run.log_qz - run.log_pz)).sum(0))


def test_densities_that_a_model_hands_over_are_what_losses_read():
    known = {name: torch.randn(4, 9, dtype=F64) for name in ("log_px", "log_pz", "log_qz")}
    known["kl"] = torch.rand(9, 3, dtype=F64)
    run = Pass(torch.randn(4, 9, 2, dtype=F64), **known)  # no distribution to ask
    assert value(nll, None, BATCH, run) == pytest.approx(-known["log_px"].mean().item())
    assert value(kl, None, BATCH, run) == pytest.approx(known["kl"].sum(-1).mean().item())
    ratio = known["log_px"] + known["log_pz"] - known["log_qz"]
    assert value(iwae(4), None, BATCH, run) == pytest.approx(-(ratio.logsumexp(0) - math.log(len(ratio))).mean().item())


def test_a_models_own_estimate_of_the_evidence_stands_for_its_draws():
    own = torch.randn(9, dtype=F64)
    run = Pass(torch.randn(4, 9, 2, dtype=F64), log_evidence=own)
    torch.testing.assert_close(run.log_importance.logsumexp(0), own)
    assert value(iwae(4), None, BATCH, run) == pytest.approx(-own.mean().item())
    with pytest.raises(TypeError, match="log_pX"):
        Pass(torch.randn(4, 9, 2), log_pX=own)


def test_equal_weights_are_no_weights():
    model, batch = vae(), rows()
    run = model(batch, 4)
    losses = [value(loss, model, batch, run) for loss in (nll, iwae(4))]
    run._log_weight = torch.full((4, 9), 0.25, dtype=F64).log()
    assert [value(loss, model, batch, run) for loss in (nll, iwae(4))] == pytest.approx(losses, rel=1e-12)


def test_weighted_draws_are_an_expectation():
    model, batch = vae(), rows()
    run = model(batch, 4)
    weight = torch.rand(4, 9, dtype=F64)
    weight = weight / weight.sum(0)
    run._log_weight = weight.log()
    expected = -(weight * run.log_px).sum(0).mean().item()
    assert value(nll, model, batch, run) == pytest.approx(expected, rel=1e-12)
    ratio = weight * (run.log_px + run.log_pz - run.log_qz).exp()
    assert value(iwae(4), model, batch, run) == pytest.approx(-ratio.sum(0).log().mean().item(), rel=1e-9)


# ------------------------------------------------------------------------------------------------------ bounds


@pytest.mark.parametrize("prior", PRIORS)
def test_iwae_of_one_draw_is_the_elbo(prior):
    model, batch = vae(prior), rows()
    run = model(batch)
    by_draw = -(run.log_px + run.log_pz - run.log_qz).mean().item()
    assert value(iwae(1), model, batch, run) == pytest.approx(by_draw, rel=1e-12)
    if prior == "mixture":  # the KL is itself the estimate from the draws: equal for every draw
        assert value(nll + kl, model, batch, run) == pytest.approx(by_draw, rel=1e-12)
        return
    run = model(batch, 20_000)
    gap = (run.log_qz - run.log_pz).mean(1)  # (K,) the same in expectation as the exact KL
    error = gap.std().item() / math.sqrt(len(gap))
    assert abs(gap.mean().item() - value(kl, model, batch, run)) < 5 * error  # five standard errors


def linear_gaussian() -> tuple[LatentModel, Batch, Tensor]:
    """A model whose log p(x) is known, with a posterior that is wider than the exact one and somewhere else."""
    model = vae(hidden=())
    with torch.no_grad():
        model.posterior.net.layers[0].bias[2:] += 0.5
        model.posterior.net.layers[0].weight[2:] = 0.0
        model.likelihood.family.log_scale.raw.fill_(-0.05)
    batch = rows(40)
    net = model.likelihood.net
    weight, bias = net.layers[0].weight[:, :2], net(torch.zeros(40, 2, dtype=F64), batch.c)
    variance = (2 * model.likelihood.family.log_scale()).exp()
    covariance = weight @ weight.T + variance * torch.eye(5, dtype=F64)
    exact = D.MultivariateNormal(bias, covariance).log_prob(batch.x)
    return model, batch, exact.detach()


def test_bounds_are_ordered_below_the_exact_evidence():
    model, batch, exact = linear_gaussian()
    with torch.no_grad():
        run = model(batch, 50_000)
        log_ratio = run.log_px + run.log_pz - run.log_qz  # (K, B)
        estimates = [log_ratio.view(-1, k, 40).logsumexp(1) - math.log(k) for k in (1, 5, 50)]
        bounds = [e.mean(0) for e in estimates]
        errors = [e.std(0) / math.sqrt(len(e)) for e in estimates]
        assert (bounds[0] < bounds[1] + 5 * (errors[0] + errors[1])).all()  # five standard errors, here and below
        assert (bounds[1] < bounds[2] + 5 * (errors[1] + errors[2])).all()
        assert (bounds[2] < exact + 5 * errors[2]).all()
        assert (bounds[0] < exact - 0.01).all()
        # The mean of the weights is p(x) itself, without bias.
        weights = (log_ratio - exact).exp()
        assert ((weights.mean(0) - 1).abs() < 5 * weights.std(0) / math.sqrt(len(weights))).all()
        expected = -weights.mean(0).log().mean().item() - exact.mean().item()
        assert value(iwae(50_000), model, batch, run) == pytest.approx(expected, rel=1e-9)


def test_the_exact_posterior_makes_every_bound_exact():
    model, batch, exact = linear_gaussian()
    net = model.likelihood.net
    weight, bias = net.layers[0].weight[:, :2], net(torch.zeros(40, 2, dtype=F64), batch.c)
    # A code is rotated so that its exact posterior is diagonal: W'W must be diagonal.
    with torch.no_grad():
        left, stretch, _ = torch.linalg.svd(weight, full_matrices=False)
        net.layers[0].weight[:, :2] = left * stretch
        weight = net.layers[0].weight[:, :2]
        precision = (-2 * model.likelihood.family.log_scale()).exp()
        variance = 1 / (1 + precision * (weight.T @ weight).diagonal())
        q = continuous.Normal(variance * precision * ((batch.x - bias) @ weight), 0.5 * variance.log().expand(40, 2))
        run = model.forward_from(batch, q, q.noise(3, 40))
        torch.testing.assert_close((run.log_px + run.log_pz - run.log_qz), exact.expand(3, 40))


def test_iwae_needs_a_draw():
    with pytest.raises(InputError, match="must be an integer from 1 to"):
        iwae(0)


# --------------------------------------------------------------------------------------------------- penalties

ENCODERS = {
    "linear": lambda: (Conditional(MLP((5,), (), 3), families.Point((3,))), (5,)),
    "deep": lambda: (Conditional(MLP((5,), (8, 6), 3), families.Point((3,))), (5,)),
    "posterior": lambda: (Conditional(MLP((5,), (8,), 6), families.DiagonalNormal((3,))), (5,)),
    "image": lambda: (Conditional(MLP((4, 3), (8,), 3), families.Point((3,)), 2), (4, 3)),
    "conv": lambda: (Conditional(ConvEncoder((4, 3), (3,), 3), families.Point((3,)), 2), (4, 3)),
}


@pytest.mark.parametrize("name", ENCODERS)
def test_contraction_is_the_jacobians_norm_in_expectation(name):
    posterior, shape = ENCODERS[name]()
    posterior = posterior.double()
    model = LatentModel(posterior, nn.Identity(), priors.Flat())
    x, n = torch.randn(2, *shape, dtype=F64), 20_000
    jacobian = torch.stack([torch.func.jacrev(lambda v: posterior(v[None]).mean[0])(row) for row in x])
    exact = jacobian.square().flatten(1).sum(-1)
    with torch.no_grad():
        batch = Batch(x.repeat_interleave(n, 0))
        estimates = contraction.fn(model, batch, None).view(2, n)
    error = estimates.std(1) / math.sqrt(n)
    assert ((estimates.mean(1) - exact).abs() < 5 * error).all()  # five standard errors


def test_contraction_leaves_no_gradient_on_the_way_to_the_decoder_and_one_on_every_encoder_weight():
    model, batch = vae(hidden=(7, 6)), rows()
    contraction(model, batch, model(batch)).backward()
    weights = [p for name, p in model.posterior.named_parameters() if name.endswith("weight")]
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in weights)
    assert all(p.grad is None for p in model.likelihood.parameters())


class Rates(nn.Module):
    """Stands for a posterior whose mean codes are given."""

    def __init__(self, codes: Tensor):
        super().__init__()
        self.q = latent.Delta(codes)


def sparsity_of(rho: float, codes: Tensor) -> Tensor:
    return kl_sparsity(rho)(None, BATCH, Rates(codes))


@pytest.mark.parametrize("rho", [0.01, 0.05, 0.5, 0.9])
def test_kl_sparsity_is_zero_at_its_target_and_a_divergence_elsewhere(rho):
    # Codes of which every unit has the target for its mean, though no single code has.
    wobble = 0.5 * min(rho, 1 - rho) * torch.tensor([[-1.0], [1.0], [-0.5], [0.5]], dtype=F64)
    assert sparsity_of(rho, rho + wobble.expand(4, 3)).item() == pytest.approx(0, abs=1e-12)
    codes = torch.rand(50, 3, dtype=F64)
    rate = codes.mean(0).numpy()
    expected = special.rel_entr(rho, rate).sum() + special.rel_entr(1 - rho, 1 - rate).sum()
    assert sparsity_of(rho, codes).item() == pytest.approx(expected, rel=1e-10)
    codes.requires_grad_()
    sparsity_of(rho, codes).backward()
    assert torch.equal(codes.grad.sign(), torch.sign(codes.detach().mean(0) - rho).expand(50, 3))


@pytest.mark.parametrize("code", [0.0, 1.0])
def test_kl_sparsity_is_finite_where_units_are_dead_or_always_on(code):
    codes = torch.full((4, 3), code, requires_grad=True)
    penalty = sparsity_of(0.05, codes)
    penalty.backward()
    assert penalty.isfinite()
    assert codes.grad.isfinite().all()


@pytest.mark.parametrize("rho", [0.0, 1.0, -0.1])
def test_a_target_activation_lies_between_zero_and_one(rho):
    with pytest.raises(InputError, match="between 0 and 1"):
        kl_sparsity(rho)


def test_l1_is_invariant_to_rescaling_codes_and_weights():
    model, batch = autoencoder(rule=nn.ReLU()), plain()
    before = value(l1, model, batch, model(batch)), value(nll, model, batch, model(batch))
    with torch.no_grad():  # codes a tenth as large, a decoder ten times as strong: the same model
        for parameter in model.posterior.parameters():
            parameter.mul_(0.1)
        model.likelihood.net.layers[0].weight.mul_(10)
    after = value(l1, model, batch, model(batch)), value(nll, model, batch, model(batch))
    assert after == pytest.approx(before, rel=1e-12)
    assert before[0] > 0


def test_l0_counts_active_units_and_reaches_the_thresholds():
    model, batch = autoencoder(rule=JumpReLU(6, width=2.0)), plain(200)
    run = model(batch)
    count = l0(model, batch, run)
    assert count.item() == pytest.approx((run.z[0] != 0).sum(-1).double().mean().item())
    count.backward()
    assert (model.posterior.family.rule.log_threshold.grad != 0).all()


def test_a_point_has_no_density():
    model, batch = autoencoder(), plain()
    run = model(batch, 3)
    assert run.prior is None
    assert run.log_px.shape == (1, 9)  # all draws of a point are one
