"""Two unlike columns, a number and a category, that share a code of one number."""

import isthmus


class TwoColumns(isthmus.VAE):
    """VAE of a normal and a categorical column."""

    latent_dim: int = 1
    """Numbers in a code."""
    hidden: tuple[int, ...] = (16,)
    """Widths of hidden layers."""
    likelihood: str | tuple[str, ...] = ("normal", "categorical(3)")
    """p(x given z), one name per column."""
