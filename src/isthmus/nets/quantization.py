"""Quantization of codes: numbers become symbols, each one of K, and symbols numbers again."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from isthmus import random_streams
from isthmus.errors import InputError

EMA_STEP = 0.01
"""Weight of a new batch in running means (over about 100 batches)."""
DEAD_SHARE = 0.03
"""A word that stands for fewer vectors than this share of the mean begins anew at a vector of the batch."""
MAX_WORDS, MAX_DEPTH = 65_536, 16
"""Words of a codebook, and codebooks for each vector, at most."""


class Codebook(nn.Module):
    """Vectors of d numbers become the nearest of k words, which follow the vectors' running means.

    Each word is the exponential average of the vectors nearest to it (van den Oord et al., 2017, appendix A.1). The
    decoder's gradient passes to the vectors as if they had not been changed.

    Args:
        size: numbers in a code.
        k: words.
        d: numbers of a word; `size` must be a multiple of it.

    Raises:
        InputError: for other numbers.
    """

    learns = True
    """Whether `forward` takes `train`, in which the words move."""
    words: Tensor
    count: Tensor
    total: Tensor
    share: Tensor

    def __init__(self, size: int, k: int = 512, d: int = 4):
        super().__init__()
        if type(k) is not int or not 2 <= k <= MAX_WORDS:
            raise InputError(f"k must be an integer from 2 to {MAX_WORDS:,}, the number of words, got {k}.")
        if type(d) is not int or d < 1:
            raise InputError(f"d must be an integer >= 1, the numbers of a word, got {d}.")
        if size % d:
            raise InputError(f"latent_dim must be a multiple of d, the numbers of a word, got {size} and d={d}.")
        self.symbols, self.values, self.size, self.raw_size = size // d, k, size, size
        self.register_buffer("words", torch.randn(k, d))
        self.register_buffer("count", torch.zeros(k))  # running mean of vectors in a batch; 0: dead
        self.register_buffer("total", torch.zeros(k, d))  # running mean of their sums
        self.register_buffer("share", torch.full((k,), 1 / k))  # running mean of being chosen

    def index_of(self, z: Tensor) -> Tensor:
        """(..., S) the word nearest to each vector of codes (..., size)."""
        vectors = z.unflatten(-1, (self.symbols, -1))
        # |v - w|² without |v|², which is the same for all words; far from 0 the products would lose digits.
        centre = self.words.mean(0)
        words = self.words - centre
        return (words.square().sum(-1) - 2 * (vectors - centre) @ words.T).argmin(-1)

    def embed(self, index: Tensor) -> Tensor:
        """(..., size) the codes of symbols (..., S)."""
        return self.words.index_select(0, index.flatten()).reshape(*index.shape, self.words.shape[1]).flatten(-2)

    def forward(self, raw: Tensor, train: bool = False) -> tuple[Tensor, Tensor, Tensor]:
        """Codes (..., size), their symbols (..., S), and the vectors that were quantized (..., size).

        Args:
            raw: (..., size) what the encoder gives.
            train: whether the words move.
        """
        index = self.index_of(raw.detach())
        words = self.embed(index)
        if train:
            self._move(raw.detach().unflatten(-1, (self.symbols, -1)).flatten(0, -2), index.flatten())
        return words + (raw - raw.detach()), index, raw

    @torch.no_grad()
    def _move(self, vectors: Tensor, index: Tensor) -> None:
        """Let words follow vectors (N, d), of which each has the word `index` (N,); not those that are not finite."""
        vectors, finite = vectors.to(self.words.dtype), vectors.isfinite().all()
        vectors = torch.where(finite, vectors, 0.0)
        chosen = (index[:, None] == torch.arange(self.values, device=index.device)).to(vectors.dtype)  # (N, K)
        mean = len(vectors) / self.values
        count = self.count.lerp(chosen.sum(0), EMA_STEP)
        total = self.total.lerp(chosen.T @ vectors, EMA_STEP)
        places = random_streams.uniform((self.values,), vectors) * len(vectors)
        others = vectors.index_select(0, places.long().clamp(max=len(vectors) - 1))
        dead = count < DEAD_SHARE * mean
        count = torch.where(dead, mean, count)
        total = torch.where(dead[:, None], mean * others, total)
        share = self.share.lerp(chosen.mean(0), EMA_STEP)
        for old, new in (
            (self.count, count),
            (self.total, total),
            (self.words, total / count[:, None]),
            (self.share, share),
        ):
            old.copy_(torch.where(finite, new, old))

    def perplexity(self) -> Tensor:
        """As how many equally frequent words those in use are: exp of the entropy of their shares, from 1 to k."""
        return (-(self.share * self.share.clamp(min=1e-30).log()).sum()).exp()


class Residual(nn.Module):
    """Words of several codebooks for each vector: each book quantizes what those before it left (Lee et al., 2022).

    A code holds the words of the first book, then those of the second, and so on; their sum is near the vectors.

    Args:
        size: numbers that are quantized.
        k: words of a book.
        d: numbers of a word; `size` must be a multiple of it.
        depth: number of books.

    Raises:
        InputError: for other numbers.
    """

    learns = True
    books: Any

    def __init__(self, size: int, k: int = 512, d: int = 4, depth: int = 2):
        super().__init__()
        if type(depth) is not int or not 1 <= depth <= MAX_DEPTH:
            raise InputError(f"depth must be an integer from 1 to {MAX_DEPTH}, the number of codebooks, got {depth}.")
        self.books = nn.ModuleList(Codebook(size, k, d) for _ in range(depth))
        self.depth = depth
        self.symbols, self.values, self.size, self.raw_size = depth * (size // d), k, depth * size, size

    def index_of(self, z: Tensor) -> Tensor:
        """(..., S) the words nearest to each vector of codes (..., size)."""
        parts = z.split(self.raw_size, -1)
        return torch.cat([book.index_of(part) for book, part in zip(self.books, parts, strict=True)], -1)

    def embed(self, index: Tensor) -> Tensor:
        """(..., size) the codes of symbols (..., S)."""
        parts = index.split(self.symbols // len(self.books), -1)
        return torch.cat([book.embed(part) for book, part in zip(self.books, parts, strict=True)], -1)

    def forward(self, raw: Tensor, train: bool = False) -> tuple[Tensor, Tensor, Tensor]:
        """Codes (..., size), their symbols (..., S), and what each book quantized (..., size).

        Args:
            raw: (..., raw_size) what the encoder gives.
            train: whether the words move.
        """
        words, symbols, rests = [], [], []
        rest = raw
        for book in self.books:
            code, index, _ = book(rest, train)
            words.append(code.detach())  # the book's words have moved since
            symbols.append(index)
            rests.append(rest)
            rest = rest - words[-1]
        # A decoder that adds words up would see the vectors' gradient once for each book: the first passes it on.
        words[0] = words[0] + (raw - raw.detach())
        return torch.cat(words, -1), torch.cat(symbols, -1), torch.cat(rests, -1)

    def perplexity(self) -> Tensor:
        """As how many equally frequent words those in use are, from 1 to k: the mean over books."""
        return torch.stack([book.perplexity() for book in self.books]).mean()


class Grid(nn.Module):
    """Each number becomes the nearest of k levels from -1 to 1 (finite scalar quantization; Mentzer et al., 2024).

    Args:
        size: numbers in a code.
        k: levels.

    Raises:
        InputError: if k is not an integer from 2 to 65,536.
    """

    learns = False

    def __init__(self, size: int, k: int = 5):
        super().__init__()
        if type(k) is not int or not 2 <= k <= MAX_WORDS:
            raise InputError(f"k must be an integer from 2 to {MAX_WORDS:,}, the number of levels, got {k}.")
        self.symbols, self.values, self.size, self.raw_size = size, k, size, size

    def index_of(self, z: Tensor) -> Tensor:
        """(..., size) the level of each number in [-1, 1]."""
        return ((z + 1) * ((self.values - 1) / 2)).round().long().clamp(0, self.values - 1)

    def embed(self, index: Tensor) -> Tensor:
        """(..., size) the numbers of levels, in the default precision."""
        return index.to(torch.get_default_dtype()) * (2 / (self.values - 1)) - 1

    def forward(self, raw: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Codes (..., size), their levels, and the numbers in (-1, 1) that were rounded."""
        bounded = raw.tanh()
        index = self.index_of(bounded.detach())
        return self.embed(index).to(raw.dtype) + (bounded - bounded.detach()), index, bounded
