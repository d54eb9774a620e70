"""Batches of linear functions, each a pure function of (seed, step)."""

from typing import NamedTuple

import numpy as np
import torch

from icl_core.config import Config

# The first word of a generator's seed keeps the streams apart: no training batch, whatever its
# seed and step, shares a stream with the evaluation prompts or with the initial weights.
TRAINING, EVALUATION, WEIGHTS, BOOTSTRAP, LENGTHS = range(5)


class Prompts(NamedTuple):
    """B prompts and what they ask for.

    tokens: (B, L, d), x_1 y_1 … x_n y_n x_q with L = 2 n + 1; y_i in the first coordinate.
    answers: (B, n + 1), y_1 … y_n y_q; the last one is not among the tokens.
    """

    tokens: torch.Tensor
    answers: torch.Tensor

    def first(self, n_prompts: int) -> "Prompts":
        """The first of them."""
        return Prompts(self.tokens[:n_prompts], self.answers[:n_prompts])

    def cut(self, k: int) -> "Prompts":
        """The same prompts with k examples: x_{k+1} is the query."""
        return Prompts(self.tokens[:, : 2 * k + 1], self.answers[:, : k + 1])


def generator(stream: int, *seeds: int) -> np.random.Generator:
    """Random numbers that depend on (stream, *seeds) alone."""
    return np.random.default_rng((stream, *seeds))


def linear_functions(rng: np.random.Generator, n_prompts: int, n_examples: int, d: int) -> Prompts:
    """y = wᵀx with x, w ~ N(0, I_d), without noise (Garg et al. 2022, arXiv 2208.01066, §3)."""
    w = rng.standard_normal((n_prompts, d), dtype=np.float32)
    x = rng.standard_normal((n_prompts, n_examples + 1, d), dtype=np.float32)
    y = np.einsum("bnd,bd->bn", x, w)
    return assemble(x, y)


def skewed(rng: np.random.Generator, x: np.ndarray) -> np.ndarray:
    """x with a random covariance a prompt: eigenvalues ∝ 1 / i², trace d (Garg et al. 2022, §4).

    x: (B, n + 1, d), drawn from N(0, I_d).
    """
    d = x.shape[-1]
    eigenvalues = 1 / np.arange(1, d + 1) ** 2
    basis, _ = np.linalg.qr(rng.standard_normal((len(x), d, d)))
    stretched = x * np.sqrt(eigenvalues * d / eigenvalues.sum())
    return np.einsum("bni,bji->bnj", stretched, basis).astype(np.float32)


def assemble(x: np.ndarray, y: np.ndarray) -> Prompts:
    """Interleaves x (B, n + 1, d) with y (B, n + 1), leaving the query's answer out."""
    n_prompts, n_points, d = x.shape
    tokens = np.zeros((n_prompts, 2 * n_points, d), dtype=np.float32)
    tokens[:, 0::2] = x
    tokens[:, 1::2, 0] = y
    return Prompts(torch.from_numpy(tokens[:, :-1]), torch.from_numpy(y))


def batch(config: Config, step: int) -> Prompts:
    """The prompts of one training step: the same for every variant, b and device."""
    rng = generator(TRAINING, config.seed, step)
    return linear_functions(rng, config.batch_size, config.n_examples, config.d)


def random_k(config: Config, step: int) -> int:
    """The number of examples, 0 … n alike, that prompts of this step are cut to by that loss."""
    return int(generator(LENGTHS, config.seed, step).integers(config.n_examples + 1))


def evaluation_prompts(config: Config) -> Prompts:
    """The fixed prompts of the target task: the same for every run that is compared."""
    rng = generator(EVALUATION, 0)
    return linear_functions(rng, config.evaluation_prompts, config.n_examples, config.d)
