"""Rows with values that were not observed, under a linear VAE: what was observed has a normal density."""

import isthmus


class Missing(isthmus.VAE):
    """Linear VAE."""

    latent_dim: int = 2
    """Numbers in a code."""
    hidden: tuple[int, ...] = ()
    """Widths of hidden layers."""
