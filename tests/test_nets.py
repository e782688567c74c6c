"""Networks, sparse activations and corruptions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor, nn

from isthmus import corruption, families
from isthmus.conditional import Conditional
from isthmus.errors import InputError
from isthmus.estimators.parts_by_name import CORRUPTIONS
from isthmus.nets import unet
from isthmus.nets.conv import ConvDecoder, ConvEncoder, conv_applicable
from isthmus.nets.layers import ACTIVATIONS, Log1p, Preprocess
from isthmus.nets.mlp import MLP
from isthmus.nets.sparse import BatchTopK, JumpReLU, TopK
from isthmus.nets.user_module import UserModule
from isthmus.schema import Schema

F64 = torch.float64
WIDTH = 3
"""Numbers in a condition."""
SHAPES = [(5,), (1, 9), (5, 7), (28, 28), (17, 19, 2), (16, 16, 3)]

ENCODERS = {
    "mlp": lambda shape, condition, act: MLP(shape, (8, 6), 4, condition=condition, act=act),
    "linear": lambda shape, condition, act: MLP(shape, (), 4, condition=condition, act=act),
    "conv": lambda shape, condition, act: ConvEncoder(shape, (4, 6), 4, condition=condition, act=act),
    "conv, one stage": lambda shape, condition, act: ConvEncoder(shape, (4,), 4, condition=condition, act=act),
    "conv, four stages": lambda shape, condition, act: ConvEncoder(
        shape, (4, 4, 5, 6), 4, condition=condition, act=act
    ),
}
DECODERS = {
    "mlp": lambda shape, condition, act: MLP((4,), (6, 8), 2 * math.prod(shape), condition=condition, act=act),
    "linear": lambda shape, condition, act: MLP((4,), (), 2 * math.prod(shape), condition=condition, act=act),
    "conv": lambda shape, condition, act: ConvDecoder(4, (4, 6), 2, shape, condition=condition, act=act),
    "conv, one stage": lambda shape, condition, act: ConvDecoder(4, (4,), 2, shape, condition=condition, act=act),
    "conv, four stages": lambda shape, condition, act: ConvDecoder(
        4, (4, 4, 5, 6), 2, shape, condition=condition, act=act
    ),
}


class Net:
    """One network with the shapes of what it reads: an encoder reads x, a decoder z."""

    def __init__(self, side: str, name: str, shape: tuple[int, ...], condition: int):
        self.side, self.name, self.shape, self.condition = side, name, shape, condition
        self.given = shape if side == "encoder" else (4,)
        self.event = (4,) if side == "encoder" else shape

    def __repr__(self) -> str:
        return f"{self.side}: {self.name} {'x'.join(map(str, self.shape))} c{self.condition}"

    def make(self, act: str = "silu") -> nn.Module:
        table = ENCODERS if self.side == "encoder" else DECODERS
        return table[self.name](self.shape, self.condition, act).double()

    def inputs(self, *batch: int) -> tuple[Tensor, Tensor | None]:
        """(*batch, *given) and (B, C), B the last of the batch's dimensions."""
        c = torch.randn(batch[-1], self.condition, dtype=F64) if self.condition else None
        return torch.randn(*batch, *self.given, dtype=F64), c


NETS = [
    Net(side, name, shape, condition)
    for side, table in (("encoder", ENCODERS), ("decoder", DECODERS))
    for name in table
    for shape in SHAPES
    for condition in (0, WIDTH)
    if len(shape) > 1 or not name.startswith("conv")
]
every_net = pytest.mark.parametrize("net", NETS, ids=repr)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


# --------------------------------------------------------------------------------------------------- networks


@every_net
def test_output_shape_and_equality_over_leading_draws(net):
    module = net.make()
    x, c = net.inputs(3, 5)
    with torch.no_grad():
        raw = module(x, c)
        assert raw.shape[:2] == (3, 5)
        assert raw[0, 0].numel() == (1 if net.side == "encoder" else 2) * math.prod(net.event)
        for draw in range(3):
            # Products of another size may sum in another order.
            torch.testing.assert_close(raw[draw], module(x[draw], c), rtol=1e-10, atol=1e-12)
        deeper = module(x[:, None].expand(3, 2, 5, *net.given), c)
        torch.testing.assert_close(deeper[:, 1], raw, rtol=1e-10, atol=1e-12)


@every_net
def test_a_row_does_not_depend_on_the_other_rows(net):
    module = net.make()
    x, c = net.inputs(5)
    with torch.no_grad():
        together = module(x, c)
        for i in (0, 4):
            alone = module(x[i : i + 1], None if c is None else c[i : i + 1])
            torch.testing.assert_close(together[i : i + 1], alone, rtol=1e-10, atol=1e-12)  # order of sums
        backwards = module(x.flip(0), None if c is None else c.flip(0)).flip(0)
        torch.testing.assert_close(backwards, together, rtol=1e-10, atol=1e-12)


@every_net
def test_gradients_reach_every_parameter_input_and_condition(net):
    module = net.make()
    x, c = net.inputs(5)
    x.requires_grad_()
    if c is not None:
        c.requires_grad_()
    raw = module(x, c)
    (raw * torch.randn_like(raw)).sum().backward()
    assert not [name for name, p in module.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert (x.grad.abs().sum(0) > 0).all()  # every pixel of x, every number of z
    if c is not None:
        assert (c.grad.abs().sum(0) > 0).all()


@pytest.mark.parametrize("net", [net for net in NETS if net.side == "decoder"], ids=repr)
def test_the_code_affects_every_output(net):
    module = net.make()
    z, c = net.inputs(6)
    if c is not None:
        c = c[:1].expand(6, -1)
    with torch.no_grad():
        raw = module(z, c)
    assert (raw.var(0) > 0).all()


@pytest.mark.parametrize("net", [net for net in NETS if net.condition], ids=repr)
def test_the_condition_of_a_row_changes_that_row_alone(net):
    module = net.make()
    x, c = net.inputs(3, 5)
    other = c.clone()
    other[2] += 1
    with torch.no_grad():
        before, after = module(x, c), module(x, other)
    changed = (before != after).flatten(2).any(-1)
    assert torch.equal(changed, torch.tensor([False, False, True, False, False]).expand(3, 5))


@pytest.mark.parametrize("act", ACTIVATIONS)
@pytest.mark.parametrize(
    "net", [n for n in NETS if n.shape == (5, 7) and n.condition and n.name in ("mlp", "conv")], ids=repr
)
def test_every_activation_is_applied_between_layers(net, act):
    module = net.make(act)
    assert any(isinstance(m, ACTIVATIONS[act]) for m in module.modules())
    x, c = net.inputs(5)
    with torch.no_grad():
        one, two, both = (module(v, 0 * c) for v in (x, 2 * x, 3 * x))
    assert not torch.allclose(both - two, two - one)  # not a linear map


def test_an_unknown_activation_names_the_nearest():
    with pytest.raises(InputError, match="Did you mean 'silu'"):
        MLP((3,), (4,), 2, act="silo")


@pytest.mark.parametrize("shape", [(5, 7), (4, 4), (6, 3, 2)])
def test_conv_decoders_output_n_first_and_channels_last(shape):
    n, depth = 3, shape[2] if len(shape) == 3 else 1
    module = ConvDecoder(4, (4, 5), n, shape)
    last = module.stages[-1]
    with torch.no_grad():
        last.weight.zero_()
        last.bias.copy_(torch.arange(n * depth))
        raw = module(torch.randn(2, 4))
    expected = torch.arange(n * depth).view(n, depth)  # number i of channel j is i * depth + j
    assert torch.equal(raw, expected.view(n, 1, 1, *shape[2:]).expand(2, n, *shape).float())


def test_conv_encoders_read_channels_last():
    # Channels in another order, and the weights that read them: the same answer.
    module = ConvEncoder((5, 7, 3), (4, 6), 4).double()
    x = torch.randn(2, 5, 7, 3, dtype=F64)
    order = [2, 0, 1]
    with torch.no_grad():
        before = module(x)
        module.stages[0].weight.copy_(module.stages[0].weight[:, order].clone())
        torch.testing.assert_close(module(x[..., order]), before, rtol=1e-10, atol=1e-12)  # order of sums
    # Height before width: an image and its kernels turned over.
    wide = ConvEncoder((7, 5, 3), (4, 6), 4).double()
    with torch.no_grad():
        for mine, theirs in zip(wide.stages.parameters(), module.stages.parameters()):
            mine.copy_(theirs.transpose(2, 3) if theirs.ndim == 4 else theirs)
        wide.out.weight.copy_(module.out.weight.view(4, 6, 2, 2).transpose(2, 3).reshape(4, -1))
        wide.out.bias.copy_(module.out.bias)
        torch.testing.assert_close(wide(x.transpose(1, 2)), module(x), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("height", "width"), [(h, w) for h in (1, 2, 3, 6, 9) for w in (1, 4, 5, 8)])
def test_conv_nets_fit_every_height_and_width(height, width):
    for shape in ((height, width), (height, width, 2)):
        for channels in ((2,), (2, 3), (2, 3, 4)):
            z = ConvEncoder(shape, channels, 4)(torch.randn(2, *shape))
            assert ConvDecoder(4, channels, 2, shape)(z).shape == (2, 2, *shape)


def test_convolutions_are_applicable_to_images_only():
    assert conv_applicable((16, 16))
    assert conv_applicable((17, 40, 3))
    assert not conv_applicable((15, 28))
    assert not conv_applicable((32, 32, 5))
    assert not conv_applicable((784,))


def test_counts_enter_networks_as_logarithms():
    net = Preprocess(Log1p(), MLP((3,), (), 2)).double()
    x = torch.tensor([[0.0, 9.0, 1e6]], dtype=F64)
    assert torch.equal(net(x), net.net(torch.log1p(x)))


def test_input_column_norms_are_norms_of_unit_steps():
    net = MLP((4,), (6,), 5, condition=WIDTH).double()
    step = torch.eye(4, dtype=F64)
    first = net.layers[0]
    c = torch.zeros(1, WIDTH, dtype=F64)
    moved = first(torch.cat([step, c.expand(4, -1)], -1)) - first(torch.zeros(1, 4 + WIDTH, dtype=F64))
    torch.testing.assert_close(net.input_column_norms(), moved.norm(dim=-1))


# -------------------------------------------------------------------------------------------- modules of a user


class Plain(nn.Module):
    def __init__(self, size: int):
        super().__init__()
        self.layer = nn.Linear(size, 6)

    def forward(self, x):
        assert x.ndim == 2, "a user's module sees one leading dimension"
        return self.layer(x)


class WithCondition(Plain):
    def forward(self, x, c):
        assert x.ndim == 2
        assert c.shape == (len(x), WIDTH)
        return self.layer(x) + c.sum(-1, keepdim=True)


class WithMask(Plain):
    def forward(self, x, c=None, mask=None):
        y = self.layer(x) if c is None else self.layer(x) + c.sum(-1, keepdim=True)
        return y if mask is None else y * mask.any(-1, keepdim=True)


class AnyNumber(Plain):
    def forward(self, x, *rest):
        return super().forward(x)


def sequential(size: int) -> nn.Module:
    return nn.Sequential(nn.Linear(size, 8), nn.Tanh(), nn.Linear(8, 6))


@pytest.mark.parametrize("make", [Plain, WithCondition, WithMask, AnyNumber, sequential])
@pytest.mark.parametrize("batch", [(5,), (3, 5), (2, 3, 5)])
def test_a_user_module_is_called_over_one_leading_dimension(make, batch):
    module = make(4)
    x, c = torch.randn(*batch, 4), torch.randn(5, WIDTH)
    takes_condition = make in (WithCondition, WithMask)
    net = UserModule(module, (4,), WIDTH if takes_condition else 0)
    raw = net(x, c if takes_condition else None)
    assert raw.shape == (*batch, 6)
    expected = torch.stack([module(row, *([c] if takes_condition else [])) for row in x.reshape(-1, 5, 4)])
    torch.testing.assert_close(raw, expected.view(*batch, 6))
    raw.sum().backward()
    assert all(p.grad is not None for p in module.parameters())


def test_a_user_module_may_read_the_mask():
    net = UserModule(WithMask(4), (4,), WIDTH)
    x, c = torch.randn(3, 5, 4), torch.randn(5, WIDTH)
    mask = torch.tensor([[True, False]] * 4 + [[False, False]])
    raw = net(x, c, mask)
    assert (raw[:, 4] == 0).all()
    assert (raw[:, :4] != 0).any()


def test_a_user_module_over_images_keeps_their_shape():
    net = UserModule(nn.Sequential(nn.Flatten(), nn.Linear(6, 4)), (2, 3))
    assert net(torch.randn(3, 5, 2, 3)).shape == (3, 5, 4)
    assert net(torch.randn(5, 2, 3)).shape == (5, 4)


def test_a_user_module_that_takes_no_condition_refuses_one():
    with pytest.raises(InputError, match="must accept a condition"):
        UserModule(Plain(4), (4,))(torch.randn(5, 4), torch.randn(5, WIDTH))
    with pytest.raises(InputError, match=r"must be a torch\.nn\.Module, got str"):
        UserModule("mlp", (4,))


# ----------------------------------------------------------------------------------- conditional distributions


@pytest.mark.parametrize("shape", [(6,), (2, 3)])
def test_a_conditional_takes_any_shape_that_holds_the_numbers(shape):
    flat = Conditional(MLP((4,), (5,), 12), families.DiagonalNormal(shape))
    z = torch.randn(3, 5, 4)
    q = flat(z)
    assert q.batch_shape == (3, 5)
    assert q.event_shape == shape
    torch.testing.assert_close(q.mean, flat.net(z)[..., :6].reshape(3, 5, *shape))  # locations first, then scales

    class Shaped(nn.Module):
        def forward(self, x, c=None, mask=None):
            return flat.net(x, c, mask).unflatten(-1, (2, *shape))

    shaped = Conditional(Shaped(), families.DiagonalNormal(shape))
    assert torch.equal(shaped(z).mean, q.mean)


def test_a_conditional_says_which_shapes_do_not_fit():
    wrong = Conditional(MLP((4,), (), 5), families.DiagonalNormal((3,)))
    with pytest.raises(InputError, match=r"2 x 3 numbers.*\(7, 5\).*\(7, 4\)"):
        wrong(torch.randn(7, 4))


# ---------------------------------------------------------------------------------------------------- sparsity


def active(h: Tensor) -> Tensor:
    return (h != 0).sum(-1)


@pytest.mark.parametrize("k", [1, 3, 12])
@pytest.mark.parametrize("batch", [(7,), (2, 7)])
def test_top_k_keeps_exactly_the_k_largest(k, batch):
    h = torch.rand(*batch, 12) + 0.1
    h.requires_grad_()
    kept = TopK(k, 12)(h)
    assert (active(kept) == k).all()
    least = h.sort(-1, descending=True).values[..., k - 1 : k]
    assert torch.equal(kept, torch.where(h >= least, h, 0.0))
    kept.sum().backward()
    assert torch.equal(h.grad, (kept != 0).float())


def test_top_k_keeps_exactly_k_of_ties_and_negative_units():
    assert (active(TopK(3, 12)(torch.ones(7, 12))) == 3).all()
    for train in (True, False):
        some = TopK(2, 4)(torch.tensor([[-1.0, 2.0, -3.0, -4.0]]), train=train)
        assert torch.equal(some, torch.tensor([[-1.0, 2.0, 0.0, 0.0]]))


def test_no_unit_of_top_k_dies_in_training_and_only_size_counts_in_use():
    rule, low = TopK(2, 8), torch.linspace(0, -4, 8)  # the last unit is never among the two largest
    h = torch.randn(64, 8, generator=torch.Generator().manual_seed(0)) * 0.5 + low
    for _ in range(2000):
        kept = rule(h, train=True)
        assert (active(kept) == 2).all()
    assert (kept != 0).any(0).all()
    h.requires_grad_()
    rule(h, train=True).sum().backward()
    assert (h.grad.sum(0) > 0).all()
    assert torch.equal(rule(h), TopK(2, 8)(h))


@pytest.mark.parametrize("k", [1, 3, 12])
@pytest.mark.parametrize("batch", [(7,), (2, 7)])
def test_batch_top_k_keeps_k_a_row_on_average_in_training(k, batch):
    h = torch.rand(*batch, 12) * torch.rand(*batch, 1) + 0.1  # rows of unlike height share their k unequally
    rule = BatchTopK(k, 12)
    kept = rule(h, train=True)
    count = k * math.prod(batch)
    assert active(kept).sum() == count
    assert torch.equal(kept, torch.where(h >= h.flatten().sort(descending=True).values[count - 1], h, 0.0))


def test_batch_top_k_in_use_is_close_to_training_and_independent_of_other_rows():
    rule = BatchTopK(4, 32)
    for _ in range(500):
        rule(torch.randn(64, 32), train=True)
    h = torch.randn(2000, 32)
    kept = rule(h)
    # The threshold is a mean over some hundred batches: within a few percent.
    assert active(kept).float().mean().item() == pytest.approx(4, rel=0.05)
    assert torch.equal(kept[:1], rule(h[:1]))
    threshold = rule.threshold.clone()
    assert torch.equal(rule(h), kept)
    assert torch.equal(rule.threshold, threshold)
    fresh = BatchTopK(4, 32)
    fresh.load_state_dict(rule.state_dict())  # what it learned is saved with the weights
    assert torch.equal(fresh(h), kept)


@pytest.mark.parametrize("rule", [TopK(3, 8), BatchTopK(3, 8), JumpReLU(8)], ids=lambda r: type(r).__name__)
def test_sparse_activations_stay_finite_if_no_unit_is_active(rule):
    h = -torch.rand(5, 8) - 1
    h.requires_grad_()
    for train in (True, False):
        kept = rule(h, train) if getattr(rule, "learns", False) else rule(h)
        if not isinstance(rule, TopK):  # which keeps the k least negative ones
            assert torch.equal(kept, torch.zeros(5, 8))
        kept.sum().backward()
        assert h.grad.isfinite().all()


@pytest.mark.parametrize("make", [TopK, BatchTopK])
@pytest.mark.parametrize("k", [0, -1, 9])
def test_the_number_of_active_units_is_validated(make, k):
    with pytest.raises(InputError, match="from 1 to 8"):
        make(k, 8)


def test_jump_relu_passes_what_is_above_its_threshold_untouched():
    rule = JumpReLU(3)
    with torch.no_grad():
        rule.log_threshold.copy_(torch.tensor([0.1, 1.0, 2.0]).log())
    h = torch.tensor([[0.05, 0.95, -3.0], [0.11, 1.01, 2.1]])
    assert torch.equal(rule(h), torch.tensor([[0.0, 0.0, 0.0], [0.11, 1.01, 2.1]]))
    assert torch.equal(rule.active(h), torch.tensor([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]]))


@pytest.mark.parametrize("of", ["forward", "active"])
def test_jump_relu_gradients_reach_the_thresholds(of):
    rule = JumpReLU(6)
    h = 0.05 + 0.02 * torch.randn(200, 6)  # near exp(-3) = 0.05
    value = rule(h) if of == "forward" else rule.active(h)
    value.sum().backward()
    assert (rule.log_threshold.grad < 0).all()  # a higher threshold leaves less


def test_jump_relu_threshold_gradient_is_that_of_the_expected_count():
    # The straight-through gradient estimates d E[count] / d threshold = - density at the threshold.
    rule = JumpReLU(1, width=0.05)
    with torch.no_grad():
        rule.log_threshold.fill_(math.log(0.5))
    n = 200_000
    rule.active(torch.rand(n, 1)).sum().backward()  # density 1 on [0, 1]
    error = math.sqrt(n / 0.05) / n * 0.5  # hits of the window are binomial: n * 0.05 of weight 1 / 0.05
    assert rule.log_threshold.grad.item() / n == pytest.approx(-0.5, abs=5 * error)  # five standard errors


# -------------------------------------------------------------------------------------------------- corruption


IMAGES = Schema.homogeneous(event_shape=(6, 5), kind="unit", dtype="float32", low=-0.5, high=2.0)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_corruption_keeps_shape_and_dtype_and_its_input(name):
    for shape in ((6, 5), (6, 5, 3)):
        damage = CORRUPTIONS[name](Schema.homogeneous(event_shape=shape, kind="unit", dtype="float32")).double()
        x = torch.rand(7, *shape, dtype=F64)
        before = x.clone()
        damaged = damage(x)
        assert damaged.shape == x.shape
        assert damaged.dtype == x.dtype
        assert damaged.isfinite().all()
        assert torch.equal(x, before)
        assert not torch.equal(damaged, x)
        if name != "blur":
            assert not torch.equal(damage(x), damaged)  # drawn afresh each time


@pytest.mark.parametrize("name", ["mask", "gaussian", "salt_and_pepper"])
def test_corruption_of_strength_zero_is_the_identity(name):
    x = torch.rand(7, 6, 5)
    assert torch.equal(CORRUPTIONS[name](IMAGES, 0.0)(x), x)


@pytest.mark.parametrize("p", [0.2, 0.7, 1.0])
def test_corruption_rate(p):
    x = torch.full((200, 6, 5), 0.3)
    n = x.numel()
    error = 5 * math.sqrt(p * (1 - p) / n) + 1e-9  # five standard errors
    assert (corruption.Mask(p)(x) == 0).float().mean().item() == pytest.approx(p, abs=error)
    salted = CORRUPTIONS["salt_and_pepper"](IMAGES, p)(x)
    assert (salted == -0.5).float().mean().item() == pytest.approx(p / 2, abs=5 * math.sqrt(p / 2 / n))
    assert (salted == 2.0).float().mean().item() == pytest.approx(p / 2, abs=5 * math.sqrt(p / 2 / n))
    assert ((salted == x) | (salted == -0.5) | (salted == 2.0)).all()
    noise = corruption.Gaussian(p)(x) - x
    assert noise.std().item() == pytest.approx(p, rel=5 / math.sqrt(2 * n))


@pytest.mark.parametrize("s", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("shape", [(9, 12), (7, 8, 3)])
def test_blur_is_a_gaussian_filter(s, shape):
    x = torch.rand(2, *shape, dtype=F64)
    reach = max(1, math.ceil(3 * s))
    sigma = (0, s, s) + (0,) * (len(shape) - 2)
    expected = ndimage.gaussian_filter(x.numpy(), sigma, mode="nearest", truncate=reach / s)
    # 1e-6: the kernel is made in single precision.
    np.testing.assert_allclose(corruption.Blur(s).double()(x).numpy(), expected, atol=1e-6)


@pytest.mark.parametrize(
    "make",
    [
        lambda: corruption.Mask(1.1),
        lambda: corruption.SaltAndPepper(-0.1),
        lambda: corruption.Gaussian(-1.0),
        lambda: corruption.Blur(0.0),
    ],
)
def test_invalid_corruption_raises(make):
    with pytest.raises(InputError, match="must be"):
        make()


# ------------------------------------------------------------------------------------------- a U-Net as a code


@pytest.mark.parametrize("shape", [(8, 8), (9, 13), (28, 20, 3), (17, 16, 2)])
@pytest.mark.parametrize("width", [0, WIDTH])
@pytest.mark.parametrize("n", [1, 2])
def test_a_unet_starts_at_the_image_and_its_code_is_the_image_at_every_scale(shape, width, n):
    channels = (3, 5, 4)
    encoder = unet.UNetEncoder(shape, channels, condition=width).double()
    decoder = unet.UNetDecoder(channels, n, shape, condition=width).double()
    x, c = torch.randn(2, 4, *shape, dtype=F64), torch.randn(4, width, dtype=F64) if width else None
    z = encoder(x, c)
    assert z.shape == (2, 4, unet.code_size(shape, channels))
    raw = decoder(z, c)
    assert raw.shape == (2, 4, n, *shape)
    torch.testing.assert_close(raw[:, :, 0], x)  # an untrained model damages nothing
    assert not raw[:, :, 1:].any()
    decoder.correction[0].weight.data.normal_()
    corrected = decoder(z, c)
    alone = decoder(encoder(x[1, 3:], None if c is None else c[3:]), None if c is None else c[3:])
    torch.testing.assert_close(corrected[1, 3:], alone, rtol=1e-10, atol=1e-12)
    if c is not None:
        assert not torch.allclose(decoder(z, c + 1), corrected)
        assert not torch.allclose(encoder(x, c + 1), z)


def test_the_features_of_a_unet_are_made_of_pixels_with_their_offset():
    offset = torch.randn(8, 9)
    plain, shifted = unet.UNetEncoder((8, 9), (3, 4)), unet.UNetEncoder((8, 9), (3, 4), offset=offset)
    shifted.load_state_dict(plain.state_dict())
    x = torch.randn(5, 8, 9)
    torch.testing.assert_close(shifted(x - offset)[:, 72:], plain(x)[:, 72:])
    torch.testing.assert_close(shifted(x)[:, :72], x.flatten(1))
