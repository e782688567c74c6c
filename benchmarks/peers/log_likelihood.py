"""Log p(x) of bits under an untrained VAE of workload A, 5,000 draws a row: isthmus, pythae, products alone."""

import argparse
import json
import time

import numpy as np
import torch
from networks import mlp_decoder, mlp_encoder
from workloads import SEED, WORKLOADS

DRAWS = 5_000
SIZES = WORKLOADS["a"]
CHUNK = 1_000  # rows through the decoder at once


def ours(x: np.ndarray):
    import isthmus

    fields = {"latent_dim": SIZES.latent_dim, "hidden": SIZES.hidden, "activation": "relu", "epochs": 1}
    model = isthmus.VAE(likelihood="bernoulli", validation_fraction=0, random_state=SEED, **fields)
    model.fit(np.concatenate([x] * 8))  # one short epoch: a model is fitted before it scores
    return lambda: model.score_samples(x, draws=DRAWS)


def pythae(x: np.ndarray):
    from pythae_loop import make_model

    model, rows = make_model(SIZES).eval(), torch.from_numpy(x)

    def score() -> None:
        with torch.no_grad():
            model.get_nll(rows, n_samples=DRAWS)

    return score


def limit(x: np.ndarray):
    """The encoder's products once for all rows, the decoder's for every draw, into their own memory."""
    encoder, decoder = (
        [layer.weight.detach() for layer in net.modules() if hasattr(layer, "weight")]
        for net in (mlp_encoder(SIZES), mlp_decoder(SIZES))
    )
    rows, codes = torch.from_numpy(x), torch.randn(CHUNK, SIZES.latent_dim)
    into = [torch.empty(CHUNK, len(weight)) for weight in decoder]

    def products() -> None:
        h = rows
        for weight in encoder:
            h = h @ weight.t()
        for _ in range(len(x) * DRAWS // CHUNK):
            h = codes
            for weight, out in zip(decoder, into):
                h = torch.mm(h, weight.t(), out=out)

    return products


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("peer", choices=("ours", "pythae", "limit"))
    parser.add_argument("--images", type=int, default=40)
    arguments = parser.parse_args()
    torch.manual_seed(SEED)
    x = (np.random.default_rng(SEED).random((arguments.images, SIZES.features)) < 0.15).astype(np.float32)
    run = {"ours": ours, "pythae": pythae, "limit": limit}[arguments.peer](x)
    first = {"ours": ours, "pythae": pythae, "limit": limit}[arguments.peer](x[:2])
    first()  # what is set up once
    start = time.perf_counter()
    run()
    print(json.dumps({"samples": len(x), "epoch_seconds": [time.perf_counter() - start]}))
