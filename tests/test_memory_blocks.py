"""Where memory is short, blocks become smaller, the numbers stay the same, and one line says so."""

import numpy as np
import pytest
import torch

import isthmus
from isthmus.latent_model import LatentModel
from isthmus.memory_blocks import by_blocks
from models import small, table

ROWS_THAT_FIT = 40
PHRASE = "Memory is too short"


def short(call, error, rows=ROWS_THAT_FIT):
    """The same call, of which more rows than `rows` do not fit into memory."""

    def limited(batch, *rest, **more):
        if len(getattr(batch, "x", batch)) > rows:
            raise error
        return call(batch, *rest, **more)

    return limited


ERRORS = [
    MemoryError(),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    RuntimeError("[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory: you tried ..."),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("method", ["transform", "reconstruct", "score_samples", "sample"])
def test_smaller_blocks_give_the_same_numbers(method, error, monkeypatch):
    model = small("VAE").fit(table(300))
    call = {
        "transform": lambda: model.transform(table(300)),
        "reconstruct": lambda: model.reconstruct(table(300)),
        "score_samples": lambda: model.score_samples(table(300), draws=10),
        "sample": lambda: model.sample(300, random_state=0),
    }[method]
    expected = call()
    for name in ("infer", "decode"):
        monkeypatch.setattr(model.model_, name, short(getattr(model.model_, name), error))
    with pytest.warns(UserWarning, match=PHRASE):
        found = call()
    if method != "sample":  # noise is drawn for each block
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    assert found.shape == expected.shape
    assert np.isfinite(found).all()


def test_other_errors_are_raised_as_they_are():
    def fails(index):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="shapes cannot"):
        list(by_blocks(fails, 8, 4))


def test_one_row_that_does_not_fit_is_an_error():
    never = by_blocks(short(lambda index: index, MemoryError(), rows=0), 8, 4)
    with pytest.warns(UserWarning, match=PHRASE), pytest.raises(MemoryError):
        list(never)


def test_validation_goes_on_in_smaller_blocks(monkeypatch):
    monkeypatch.setattr("isthmus.train.trainer.VALIDATION_BATCH_SIZE", 64)
    whole = small("VAE", epochs=2).fit(table(300))
    monkeypatch.setattr(LatentModel, "infer", short_method(LatentModel.infer))
    with pytest.warns(UserWarning, match=PHRASE):
        model = small("VAE", epochs=2).fit(table(300))
    assert [one["loss"] for one in model.history_] == [one["loss"] for one in whole.history_]
    assert all(np.isfinite(one["valid_loss"]) for one in model.history_)


def short_method(method):
    def limited(self, batch, *rest, **more):
        if len(batch.x) > ROWS_THAT_FIT:
            raise MemoryError
        return method(self, batch, *rest, **more)

    return limited


def test_an_update_that_does_not_fit_names_the_batch_size(monkeypatch):
    monkeypatch.setattr(LatentModel, "infer", short_method(LatentModel.infer))
    with pytest.raises(isthmus.InputError, match=r"^batch_size must be smaller, got 128: .* Pass batch_size=32"):
        small("VAE", epochs=2, batch_size=128, initialization="random").fit(table(300))
