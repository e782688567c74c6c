"""isthmus by its library call, nothing set but what the peers set too."""

import numpy as np
from networks import conv_decoder, conv_encoder
from workloads import SEED, Workload, begin, parser, report

import isthmus


def make_model(workload: Workload, epochs: int, compile: bool):
    run = {
        "latent_dim": workload.latent_dim,
        "epochs": epochs,
        "batch_size": workload.batch_size,
        "validation_fraction": 0,
        "random_state": SEED,
        "compile": compile,
    }
    if workload.data == "pictures":
        nets = {"encoder": conv_encoder(workload.latent_dim), "decoder": conv_decoder(workload.latent_dim)}
        return isthmus.VAE(likelihood="bernoulli", **nets, **run)
    run |= {"hidden": workload.hidden, "activation": "relu"}
    if workload.variational:
        return isthmus.VAE(likelihood="bernoulli", **run)
    return isthmus.Autoencoder(network="mlp", likelihood="normal(1)", scaling="none", **run)


if __name__ == "__main__":
    arguments = parser()
    arguments.add_argument("--compile", action="store_true", help="compile the whole step")
    arguments = arguments.parse_args()
    workload, x, epochs = begin(arguments)
    model = make_model(workload, epochs, arguments.compile).fit(x)
    # The history holds seconds since the first step.
    elapsed = [epoch["seconds"] for epoch in model.history_]
    report(np.diff(elapsed, prepend=0.0).tolist(), len(x))
