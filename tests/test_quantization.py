"""Discrete codes: quantizers, the prior of symbols, and the model that has both."""

import itertools
import math

import numpy as np
import pytest
import torch

import isthmus
from isthmus.distributions.quantized import SymbolSequence
from isthmus.nets.autoregressive import CausalTransformer
from isthmus.nets.quantization import Codebook, Grid, Residual
from isthmus.random_streams import Stream, drawing_from
from models import bits, small, table

X = bits(n=200, d=12)


def vectors(n: int, size: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, size, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("quantizer", [Codebook(6, 5, 2), Codebook(6, 16, 6), Grid(6, 4), Grid(6, 5)])
def test_codes_are_those_of_their_symbols_and_pass_the_gradient_on(quantizer):
    raw = vectors(7, 6).requires_grad_()
    z, index, before = quantizer(raw)
    torch.testing.assert_close(z, quantizer.embed(index))
    assert torch.equal(quantizer.index_of(z), index)
    assert index.shape == (7, quantizer.symbols)
    assert index.max() < quantizer.values
    (z * torch.arange(6.0)).sum().backward()
    slope = torch.ones_like(before) if isinstance(quantizer, Codebook) else 1 - before.detach().square()
    torch.testing.assert_close(raw.grad, torch.arange(6.0) * slope)


def test_residual_words_are_those_of_what_earlier_books_left():
    torch.manual_seed(0)
    quantizer = Residual(6, 16, 2, depth=3)
    raw = vectors(40, 6).requires_grad_()
    z, index, rests = quantizer(raw)
    parts = z.split(6, -1)
    assert z.shape == rests.shape == (40, 18)
    assert index.shape == (40, 9)
    torch.testing.assert_close(z, quantizer.embed(index))
    assert torch.equal(quantizer.index_of(z), index)
    rest = raw
    for part, book, read in zip(parts, quantizer.books, rests.split(6, -1), strict=True):
        torch.testing.assert_close(read, rest)
        torch.testing.assert_close(part, book.embed(book.index_of(rest.detach())))
        rest = rest - part.detach()
    sum(parts).sum().backward()  # a decoder that adds the words up sees the vectors once
    torch.testing.assert_close(raw.grad, torch.ones(40, 6))


def test_one_book_alone_is_a_codebook():
    raw, found = vectors(64, 4), []
    for make in (lambda: Codebook(4, 16, 4), lambda: Residual(4, 16, 4, 1)):
        torch.manual_seed(0)
        quantizer = make()
        with drawing_from(Stream(0)):
            found.append([quantizer(raw + step, train=True) for step in range(3)])
    for one, other in zip(*found, strict=True):
        for ours, right in zip(other, one, strict=True):
            torch.testing.assert_close(ours, right)


def test_further_books_come_nearer():
    errors = []
    for depth in (1, 2, 3):
        torch.manual_seed(0)
        quantizer, z = Residual(2, 8, 2, depth), vectors(512, 2)
        with drawing_from(Stream(0)):
            for _ in range(600):
                quantizer(z, train=True)
        words = sum(quantizer(z)[0].split(2, -1))
        errors.append(float((words - z).square().sum(-1).mean()))
    assert errors[1] < 0.5 * errors[0]
    assert errors[2] < 0.5 * errors[1]


def test_the_nearest_word_is_taken():
    book = Codebook(4, 9, 2)
    z = vectors(50, 4)
    nearest = torch.cdist(z.unflatten(1, (2, 2)), book.words.expand(50, 9, 2)).argmin(-1)
    assert torch.equal(book.index_of(z), nearest)


def test_words_follow_the_means_of_their_vectors_and_dead_ones_begin_anew():
    book = Codebook(2, 12, 2)
    book.words.add_(100.0)  # out of reach
    centres = torch.tensor([[3.0, 0.0], [-3.0, 0.0], [0.0, 3.0], [0.0, -3.0]])
    generator = torch.Generator().manual_seed(0)
    with drawing_from(Stream(0)):
        for _ in range(600):
            pick = torch.randint(4, (64,), generator=generator)
            book(centres[pick] + 0.1 * torch.randn(64, 2, generator=generator), train=True)
    assert torch.cdist(centres, book.words).min(1).values.max() < 0.25  # words of one centre share its spread of 0.1
    assert torch.cdist(book.words, centres).min(1).values.max() < 0.5  # each word is at a centre
    assert 4 <= book.perplexity() <= 12


def test_perplexity_counts_the_words_that_are_chosen():
    book, two = Codebook(2, 64, 2), torch.tensor([[3.0, 0.0], [-3.0, 0.0]]).repeat(16, 1)
    assert book.perplexity().item() == pytest.approx(64)
    with drawing_from(Stream(0)):
        for _ in range(1000):
            book(two, train=True)
    assert len(book.index_of(two).unique()) == 2
    # Words that began anew lie where others are, and take turns with them.
    assert 2 - 1e-3 <= book.perplexity() < 32


def test_words_far_from_zero_are_told_apart_and_vectors_that_are_not_finite_move_none():
    book = Codebook(2, 50, 2)
    book.words.copy_(1000 + vectors(50, 2))
    assert torch.equal(book.index_of(book.words)[:, 0], torch.arange(50))
    before = book.words.clone()
    with drawing_from(Stream(0)):
        book(torch.tensor([[1.0, math.nan], [1.0, 2.0]]), train=True)
    assert torch.equal(book.words, before)


def test_in_use_words_stay():
    book = Codebook(4, 9, 2)
    before = book.words.clone()
    book(vectors(20, 4))
    assert torch.equal(book.words, before)


def test_each_symbol_reads_those_before_it_and_all_sequences_have_probability_one():
    net = CausalTransformer(3, 4).double()
    with torch.no_grad():
        net.out.weight.normal_(generator=torch.Generator().manual_seed(0))
    index = torch.randint(4, (6, 3), generator=torch.Generator().manual_seed(1))
    logits = net(index)
    for changed in range(3):
        other = index.clone()
        other[:, changed] = (other[:, changed] + 1) % 4
        same = torch.isclose(net(other), logits).all(-1)
        assert same[:, : changed + 1].all()
        assert not same[:, changed + 1 :].any()
    grid = Grid(3, 4)
    p = SymbolSequence(grid, net, torch.zeros((), dtype=torch.float64))
    every = torch.tensor(list(itertools.product(range(4), repeat=3)))
    probability = p.log_prob(grid.embed(every)).exp()
    assert probability.sum().item() == pytest.approx(1, abs=1e-6)
    with torch.no_grad(), drawing_from(Stream(0)):
        drawn = grid.index_of(p.sample((20_000,)))
    frequency = torch.bincount(drawn @ torch.tensor([16, 4, 1]), minlength=64) / 20_000
    # The standard error of a frequency f is sqrt(f / 20,000), at most 0.0035.
    assert (frequency - probability).abs().max() < 0.015


@pytest.mark.parametrize(
    ("quantization", "size", "symbols"),
    [("vq(8, 2)", 6, 3), ("vq(32, 4)", 4, 1), ("rvq(6, 2, 3)", 2, 3), ("fsq(3)", 3, 3)],
)
def test_the_model_trains_saves_samples_and_its_bound_is_below_log_p(quantization, size, symbols, tmp_path):
    fields = {"quantization": quantization, "latent_dim": size, "epochs": 30, "precision": "float64"}
    model = small("VQVAE", **fields).fit(X)
    assert model.symbols(X).shape == (len(X), symbols)
    model.save(tmp_path / "run")
    assert model.sample(0).shape == (0, X.shape[1])
    loaded = isthmus.load(tmp_path / "run")
    np.testing.assert_array_equal(loaded.symbols(X), model.symbols(X))
    np.testing.assert_array_equal(loaded.sample(5, random_state=1), model.sample(5, random_state=1))
    # p(x) is the sum over all codes, of which the bound has one.
    latent, quantizer = model.model_, model.model_.posterior.family.quantizer
    every = torch.tensor(list(itertools.product(range(quantizer.values), repeat=symbols)))
    with torch.no_grad():
        codes = quantizer.embed(every).double()
        log_prior = latent.prior(None, None, latent.posterior).log_prob(codes)
        assert log_prior.logsumexp(0).item() == pytest.approx(0, abs=1e-6)
        joint = (
            latent.decode(codes[:, None]).log_prob(torch.as_tensor(X[:20], dtype=torch.float64)) + log_prior[:, None]
        )
        of_row = model.symbols(X[:20])
    exact = joint.logsumexp(0).numpy()
    bound = model.score_samples(X[:20])
    assert (bound <= exact + 1e-6).all()
    np.testing.assert_allclose(bound, model.elbo(X[:20]), atol=1e-6)
    place = [next(i for i, each in enumerate(every.tolist()) if each == row) for row in of_row.tolist()]
    np.testing.assert_allclose(bound, joint[place, range(20)].numpy(), atol=1e-6)
    assert np.isinf(model.score_samples(X[:20], return_error=True)[1]).all()  # no draw says how far below it is
    for draws in (16, 100):
        text = " ".join(str(isthmus.evaluate(model, X, draws=draws)).split())
        assert "that of one code for each row" in text
        assert "effective draws" not in text
    assert isinstance(isthmus.diagnose(model, X), list)


@pytest.mark.grid
def test_rows_of_two_kinds_have_two_words_and_the_prior_their_frequencies():
    x = np.repeat([[0] * 8, [1] * 8], [150, 50], 0).astype(np.uint8)
    fields = {
        "latent_dim": 2,
        "quantization": "vq(2, 2)",
        "epochs": 150,
        "learning_rate": 5e-3,
        "validation_fraction": 0,
    }
    model = small("VQVAE", **fields).fit(x)
    assert len(np.unique(model.symbols(x))) == 2
    # With both kinds known from one symbol, -log p(x) is the entropy of the kinds, and little for the bits.
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert -model.score(x) == pytest.approx(entropy, abs=0.1)
    assert model.sample(2000, random_state=0).mean() == pytest.approx(0.25, abs=0.05)  # errors are 0.01


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"quantization": "vq(8, 4)", "latent_dim": 6}, "latent_dim must be a multiple of d"),
        ({"quantization": "vq(8, 2.0)", "latent_dim": 6}, "d must be an integer >= 1"),
        ({"quantization": "vq(1, 2)", "latent_dim": 6}, "k must be an integer from 2"),
        ({"quantization": "rvq(8, 2, 0)", "latent_dim": 6}, "depth must be an integer from 1 to 16"),
        ({"quantization": "fsq(1)"}, "k must be an integer from 2"),
        ({"quantization": "pq(2)"}, "quantization must be one of fsq, rvq, vq"),
        ({"prior": "mixture(2)"}, "prior must be 'normal' for VQVAE"),
        ({"commitment": -1.0}, "commitment must be a number >= 0"),
    ],
)
def test_what_cannot_be_is_refused(fields, message):
    with pytest.raises(isthmus.InputError, match=message):
        small("VQVAE", **fields).fit(table())
