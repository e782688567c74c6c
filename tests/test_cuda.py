"""What only a GPU can show; skipped where there is none."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import isthmus
from isthmus.estimators.training_setup import setup_training
from isthmus.train import trainer as trainer_module
from isthmus.train.checkpoint import Checkpointer
from isthmus.train.trainer import Trainer
from models import TRAINED, images, small, table
from test_players import config_of, objective_of, rows_of
from test_training import parts

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")


@pytest.mark.parametrize("data", [table, images])
@pytest.mark.parametrize("name", TRAINED)
def test_the_recorded_update_is_the_eager_one(name, data, monkeypatch):
    runs = []
    for recorded in (True, False):
        if not recorded:
            monkeypatch.setattr(Trainer, "prepare", lambda trainer: None)
        runs.append(small(name, device="cuda", epochs=12, learning_rate=1e-2).fit(data()))
    assert all(model.fitted_.device.type == "cuda" for model in runs)
    # The same kernels on the same numbers; random numbers are drawn in the same order from another offset.
    losses = [model.history_[-1]["loss"] for model in runs]
    fallen = [model.history_[0]["loss"] - model.history_[-1]["loss"] for model in runs]
    assert min(fallen) > 4 * 0.05 * abs(losses[1])  # an update that moves nothing would be seen
    assert losses[0] == pytest.approx(losses[1], rel=0.05)


@pytest.mark.parametrize("name", TRAINED)
def test_a_run_on_the_gpu_resumes(name, tmp_path):
    whole = small(name, device="cuda", epochs=4).fit(table())
    first = setup_training(small(name, device="cuda", epochs=4), table())

    class Stopping(Checkpointer):
        def save(self, trainer):
            super().save(trainer)
            if trainer.step >= trainer.total_steps // 2:
                raise KeyboardInterrupt

    (tmp_path / "run").mkdir()
    with pytest.raises(KeyboardInterrupt):
        first.train(Stopping(tmp_path / "run", every=0.0))
    again = setup_training(small(name, device="cuda", epochs=4), table())
    history = again.train(Checkpointer(tmp_path / "run", every=1e9))
    assert history[-1]["loss"] == pytest.approx(whole.history_[-1]["loss"], rel=1e-3)


def test_a_model_of_the_gpu_serves_where_its_field_says(tmp_path):
    model = small("VAE", device="cuda").fit(table())
    model.save(tmp_path / "run")
    loaded = isthmus.load(tmp_path / "run")
    assert loaded.fitted_.device.type == "cuda"
    np.testing.assert_allclose(loaded.transform(table()), model.transform(table()), rtol=1e-5)


def test_a_recorded_game_is_the_eager_one(monkeypatch):
    losses = []
    for recorded in (True, False):
        if not recorded:
            monkeypatch.setattr(Trainer, "prepare", lambda trainer: None)
        model, objective = parts().cuda(), objective_of()
        rows = rows_of(device="cuda")
        history = trainer_module.fit(model, rows, objective, config_of(epochs=20), validation=rows)
        assert objective.critics[0][0].weight.is_cuda
        losses.append([history[0], history[-1]])
    for name in ("valid_loss", "critic_loss"):
        assert losses[0][1][name] == pytest.approx(losses[1][1][name], rel=0.1)
    assert losses[0][1]["valid_loss"] < losses[0][0]["valid_loss"]
