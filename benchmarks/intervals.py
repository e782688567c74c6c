"""How often intervals are right: stars for one of two identical models, and coverage of log p(x).

    python benchmarks/intervals.py [--only tables|statistics|coverage] [--tables 100] [--seeds 3] [--simulations 4000]
                                   [--evaluations 100] [--seed 0]

tables: comparisons of two VAEs that differ in their random state only, on data of three kinds in turn; how many star
one of the two in log p(x), or call it best of the trained models, and how many do between the two alone. As a control,
how many find that one is better than a third VAE, which is trained for a third of the epochs.
statistics: the same at the level of the paired statistics, with variance between seeds, between rows and of both.
coverage: share of evaluations whose 95 % interval of log p(x) holds the exact value, on a linear Gaussian model whose
posterior is widened or shifted; rows are drawn anew, and so are the draws.
"""

import argparse
import math
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from scipy.stats import multivariate_normal

import isthmus
from isthmus.comparison.paired_stats import Scores
from isthmus.comparison.ranking import Row, margin, rank_column
from isthmus.comparison.results import Column
from isthmus.metrics.estimate import mean_and_error
from isthmus.metrics.importance_weighting import encode_chunks, importance_weighted
from training import machine, table

MAX_STARS = 0.07
"""Share of comparisons of two identical models that may star one of them."""
SEED_RATIOS = (0.0, 0.5, 1.0, 2.0, 4.0, 10.0)
"""Standard error of a difference due to seeds, relative to that due to rows."""
POSTERIORS = ((1.3, 0.0, 2), (1.5, 0.0, 4), (0.8, 0.0, 4), (1.2, 0.5, 4), (1.2, 0.5, 8), (1.0, 1.0, 10))
"""Scale of q relative to the posterior, error of its mean in deviations, latent dimensions."""
DRAWS = (10, 1000)
COVERAGE_ROWS, COLUMNS, MODEL_ROWS = 100, 12, 4000
LOG_PX = Column("log_px: density", "log p(x)", "nats, density", True, 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", choices=("tables", "statistics", "coverage"))
    parser.add_argument("--tables", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--simulations", type=int, default=4000)
    parser.add_argument("--evaluations", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(machine(sys.executable) + "\n", flush=True)
    parts: dict[str, Callable[[argparse.Namespace], None]] = {
        "tables": tables,
        "statistics": statistics,
        "coverage": coverage,
    }
    for name, part in parts.items():
        if arguments.only in (None, name):
            part(arguments)


def circles(random: np.random.Generator, n: int = 150) -> np.ndarray:
    """Rows on a closed curve in ten columns, with noise."""
    angle = random.uniform(0, 2 * np.pi, n)
    waves = np.stack([f(k * angle) for k in (1, 2, 3) for f in (np.cos, np.sin)], 1)
    return waves @ np.random.default_rng(1).normal(size=(6, 10)) + 0.2 * random.normal(size=(n, 10))


def linear(random: np.random.Generator, n: int = 150) -> np.ndarray:
    """Rows of a linear model of three dimensions in eight columns."""
    return random.normal(size=(n, 3)) @ np.random.default_rng(2).normal(size=(3, 8)) + random.normal(size=(n, 8))


def clusters(random: np.random.Generator, n: int = 150) -> np.ndarray:
    """Rows of five clusters in six columns."""
    return 4 * np.random.default_rng(3).normal(size=(5, 6))[random.integers(0, 5, n)] + random.normal(size=(n, 6))


def tables(arguments: argparse.Namespace) -> None:
    """Print how many of the tables of two identical models star one of them."""
    stars, between_two, control = 0, 0, 0
    kinds = (circles, linear, clusters)
    for i in range(arguments.tables):
        x = kinds[i % len(kinds)](np.random.default_rng([arguments.seed, i]))
        fields = {"latent_dim": 2, "hidden": (16,), "learning_rate": 3e-3, "batch_size": 32, "threads": 1}
        models = [isthmus.VAE(**fields, epochs=15, random_state=state) for state in (1000 * i, 1000 * i + 500)]
        models.append(isthmus.VAE(**fields, epochs=5, random_state=1000 * i))
        result = isthmus.compare(x, models=models, seeds=arguments.seeds, draws=100)
        of_log_px = [one for one in result.rankings if one.column.key.startswith("log_px")]
        stars += any(one.clear and one.best.startswith("vae") for one in of_log_px)
        one, other, worse = (row for row in result.rows if row.label.startswith("vae"))
        between_two += is_clear([one, other], of_log_px[0].column)
        control += is_clear([one, worse], of_log_px[0].column)
    counts = [str(count) for count in (arguments.tables, arguments.seeds, stars, between_two)]
    headings = ["tables", "seeds", "starred, or best of the trained", "clear between the two alone", "at most 7 %"]
    cells = [*counts, verdict(max(stars, between_two), arguments.tables), str(control)]
    print(table([*headings, "clear against a third of the epochs"], [cells]))


def is_clear(rows: list[Row], column: Column) -> bool:
    """Whether one of the models is called better."""
    ranking = rank_column(rows, column, None)
    return ranking is not None and ranking.clear


def verdict(count: int, of: int) -> str:
    return "yes" if count <= MAX_STARS * of else "**no**"


def statistics(arguments: argparse.Namespace) -> None:
    """Print how often paired statistics call one of two identical models better."""
    random, cells = np.random.default_rng(arguments.seed), []
    for n in (36, 400):
        for ratio in SEED_RATIOS:
            rates = []
            for interaction in (0.0, 1.0):
                count = 0
                for _ in range(arguments.simulations):
                    a, b = simulated_scores(random, n, arguments.seeds, ratio, interaction)
                    count += abs((gap := margin(a, b, LOG_PX)).mean) > gap.half_width
                rates.append(count / arguments.simulations)
            row = [f"{n}", f"{ratio:g}", *(f"{rate:.1%}" for rate in rates)]
            cells.append([*row, "yes" if max(rates) <= MAX_STARS else "**no**"])
    headings = ["rows", "error of seeds / error of rows", "starred", "starred, seeds differ by row", "at most 7 %"]
    print("\n" + table(headings, cells))


def simulated_scores(
    random: np.random.Generator, n: int, seeds: int, ratio: float, interaction: float
) -> tuple[Scores, Scores]:
    """Scores of two models whose differences have mean 0: they vary by row, by seed, and by row and seed."""
    common = 10 * random.normal(size=n)
    by_seed = ratio * math.sqrt(seeds / n) * random.normal(size=(seeds, 1))
    difference = random.normal(size=n) + by_seed + interaction * random.normal(size=(seeds, n))
    return Scores({s: common + difference[s] for s in range(seeds)}), Scores(dict.fromkeys(range(seeds), common))


def coverage(arguments: argparse.Namespace) -> None:
    """Print how often intervals of log p(x) hold the exact value: of the model, and of the mean of the same rows."""
    cells = []
    for scale, shift, latent_dim in POSTERIORS:
        for draws in DRAWS:
            inside = np.array(list(evaluations(arguments, scale, shift, latent_dim, draws)))  # (N, 5)
            population, rows, plain, gap, estimate = inside.mean(0)
            q = f"scale {scale:g}, shift {shift:g}, {latent_dim} dimensions"
            cells.append(
                [q, f"{draws:,}", f"{population:.0%}", f"{rows:.0%}", f"{plain:.0%}", f"{gap:.3f}", f"{estimate:.3f}"]
            )
    headings = [
        "q",
        "draws",
        "of the model",
        "of these rows",
        "of these rows, draws' noise only",
        "below log p(x), nats",
        "as estimated",
    ]
    print("\n" + table(headings, cells))


def exact_density(model: isthmus.ProbabilisticPCA) -> Any:
    """The distribution of rows under a fitted model, in the data's units."""
    decoder, family = model.model_.likelihood.net.layers[0], model.model_.likelihood.family
    weight, bias = (parameter.detach().numpy() for parameter in (decoder.weight, decoder.bias))  # (X, D), (X,)
    variance = math.exp(2 * float(family.log_scale.log_scale))
    scale = float(model.schema_.scale)
    covariance = scale**2 * (weight @ weight.T + variance * np.eye(COLUMNS))
    return multivariate_normal(model.schema_.shift + scale * bias, covariance)


def evaluations(
    arguments: argparse.Namespace, scale: float, shift: float, latent_dim: int, draws: int
) -> Iterator[tuple[float, ...]]:
    """For each evaluation whether three intervals hold, how far the bound is below log p(x), and that estimated."""
    random = np.random.default_rng([arguments.seed, latent_dim, draws])
    weight = random.normal(size=(latent_dim, COLUMNS))

    def rows(n: int) -> np.ndarray:
        return random.normal(size=(n, latent_dim)) @ weight + random.normal(size=(n, COLUMNS))

    model = isthmus.ProbabilisticPCA(latent_dim=latent_dim, random_state=0).fit(rows(MODEL_ROWS))
    density = exact_density(model)
    truth = -float(density.entropy())  # the mean of log p(x) over rows of the model
    network, encoder = model.model_, model.model_.posterior.net.layers[0]
    exact_weight, exact_bias = encoder.weight.detach().clone(), encoder.bias.detach().clone()
    for i in range(arguments.evaluations):
        x = density.rvs(COVERAGE_ROWS, random_state=random)
        exact = density.logpdf(x)
        with torch.no_grad():
            encoder.weight.copy_(exact_weight)
            encoder.bias.copy_(exact_bias)
            encoder.bias[latent_dim:] += math.log(scale)
            error = torch.as_tensor(random.normal(size=(latent_dim, COLUMNS)) / math.sqrt(COLUMNS))
            spread = float(((x - model.schema_.shift) / model.schema_.scale).std())
            encoder.weight[:latent_dim] += shift * exact_bias[latent_dim:].exp()[:, None] * error / spread
        chunks = encode_chunks(network, model.fitted_.dataset(model.fitted_.check(x), "fixed"))
        result = importance_weighted(network, chunks, draws, seed=i)
        mean, width = result.values.mean(), 1.96 * mean_and_error(result.values, result.error).error
        below = exact.mean() - mean
        yield (
            abs(mean - truth) <= width,
            abs(below) <= 1.96 * result.error,
            abs(below) <= 1.96 * result.shared_error,
            below,
            result.bound_gap,
        )


if __name__ == "__main__":
    main()
