"""Batches of prompts, each a pure function of (seed, step), from four classes of functions.

Functions of every class are scaled so that E y² = d: the zero predictor scores 1 on each.
"""

from typing import NamedTuple

import numpy as np
import torch

from icl_report.config import Config

# The first word of a generator's seed keeps the streams apart: no training batch, whatever its
# seed and step, shares a stream with the evaluation prompts or with the initial weights.
TRAINING, EVALUATION, WEIGHTS, BOOTSTRAP, LENGTHS, HIDING = range(6)
SPARSITY, HIDDEN, DEPTH = 2, 100, 4


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


def generator(stream: int, *seeds: int) -> np.random.Generator:
    """Random numbers that depend on (stream, *seeds) alone."""
    return np.random.default_rng((stream, *seeds))


def linear(rng: np.random.Generator, x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """y = wᵀx, w ~ N(0, I_d), without noise (Garg et al. 2022, arXiv 2208.01066, §3)."""
    return np.einsum("bnd,bd->bn", x, w)


def sparse(rng: np.random.Generator, x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """y = √(d / 2) wᵀx, all but two coordinates of w at zero (Garg et al. §5; two is ours)."""
    d = w.shape[1]
    kept = rng.random(w.shape).argsort(axis=1) < SPARSITY
    return linear(rng, x, w * kept) * np.sqrt(d / min(d, SPARSITY), dtype=np.float32)


def network(rng: np.random.Generator, x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """y = Σ_j a_j max(0, v_jᵀx), 100 units, v_j, a_j / √(2 / 100) ~ N(0, 1) (Garg et al. §5)."""
    v = rng.standard_normal((len(x), HIDDEN, x.shape[-1]), dtype=np.float32)
    a = np.sqrt(2 / HIDDEN, dtype=np.float32) * rng.standard_normal((len(x), HIDDEN, 1), np.float32)
    return (np.maximum(x @ v.mT, 0) @ a)[..., 0]


def tree(rng: np.random.Generator, x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """y = √d · the leaf, N(0, 1), that signs of random coordinates lead to, depth 4 (Garg §5)."""
    n_prompts, n_points, d = x.shape
    asked = rng.integers(d, size=(n_prompts, 2**DEPTH - 1))
    leaves = np.sqrt(d, dtype=np.float32) * rng.standard_normal((n_prompts, 2**DEPTH), np.float32)
    node = np.zeros((n_prompts, n_points), dtype=int)
    for _ in range(DEPTH):
        coordinate = np.take_along_axis(asked, node, axis=1)
        value = np.take_along_axis(x, coordinate[..., None], axis=2)[..., 0]
        node = 2 * node + 1 + (value > 0)
    return np.take_along_axis(leaves, node - (2**DEPTH - 1), axis=1)


FUNCTIONS = {"linear": linear, "sparse": sparse, "network": network, "tree": tree}


def prompts(rng: np.random.Generator, config: Config, n_prompts: int) -> Prompts:
    """Prompts of the config's function class with x ~ N(0, I_d); the same x for every class."""
    w = rng.standard_normal((n_prompts, config.d), dtype=np.float32)
    x = rng.standard_normal((n_prompts, config.n_examples + 1, config.d), dtype=np.float32)
    return assemble(x, FUNCTIONS[config.function_class](rng, x, w))


def skewed(rng: np.random.Generator, x: np.ndarray) -> np.ndarray:
    """x with a random covariance a prompt: eigenvalues ∝ 1 / i², trace d (Garg et al. 2022, §4).

    x: (B, n + 1, d), drawn from N(0, I_d).
    """
    d = x.shape[-1]
    eigenvalues = 1 / np.arange(1, d + 1) ** 2
    basis, _ = np.linalg.qr(rng.standard_normal((len(x), d, d)))
    stretched = x * np.sqrt(eigenvalues * d / eigenvalues.sum())
    return np.einsum("bni,bji->bnj", stretched, basis)


def assemble(x: np.ndarray, y: np.ndarray) -> Prompts:
    """Interleaves x (B, n + 1, d) with y (B, n + 1), leaving the query's answer out."""
    n_prompts, n_points, d = x.shape
    tokens = np.zeros((n_prompts, 2 * n_points, d), dtype=np.float32)
    tokens[:, 0::2] = x
    tokens[:, 1::2, 0] = y
    return Prompts(torch.from_numpy(tokens[:, :-1]), torch.from_numpy(y))


def batch(config: Config, step: int) -> Prompts:
    """The prompts of one training step: the same for every variant, b and device."""
    return prompts(generator(TRAINING, config.seed, step), config, config.batch_size)


def random_k(config: Config, step: int) -> int:
    """The number of examples, 0 … n alike, that prompts of this step are cut to by that loss."""
    return int(generator(LENGTHS, config.seed, step).integers(config.n_examples + 1))


def hidden_examples(config: Config, step: int) -> torch.Tensor:
    """The examples, i = 0 … n - 1 in order, whose answers that loss hides in this step's prompts.

    Any number of them, 0 … n alike, and any set of that size alike.
    """
    rng = generator(HIDING, config.seed, step)
    order = rng.permutation(config.n_examples)
    return torch.from_numpy(np.sort(order[: rng.integers(config.n_examples + 1)]))


def evaluation_prompts(config: Config) -> Prompts:
    """The fixed prompts of the target task: the same for every run that is compared."""
    return prompts(generator(EVALUATION, 0), config, config.evaluation_prompts)
