"""Prompts: the source's random numbers in its order, and batches that (seed, step) alone decide.

Functions of every class are scaled so that E y² = d: the zero predictor scores 1 on each.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from icl_core.config import Config

# The first word of a generator's seed: no two of these share a stream, whatever seed and step.
TRAINING, EVALUATION, WEIGHTS, BOOTSTRAP, LENGTHS, HIDING = range(6)
# The source's: prompts of a check and of a test; seed and number of the tests, seeds in order.
CHECK_PROMPTS, TEST_PROMPTS = 320, 1280
TEST_SEED, N_TESTS, TEST_ORDER = 520_195_946, 10, (42, 451, 1984)


class Prompts(NamedTuple):
    """B prompts and what they ask for."""

    tokens: Tensor  # (B, L, d), x_1 y_1 … x_n y_n x_q with L = 2 n + 1; y_i in the first coordinate
    answers: Tensor  # (B, n + 1), y_1 … y_n y_q; the last one is not among the tokens

    def first(self, n_prompts: int) -> "Prompts":
        """The first of them."""
        return Prompts(self.tokens[:n_prompts], self.answers[:n_prompts])

    def cut(self, k: int) -> "Prompts":
        """Their first k examples, and x_{k+1}, which then is the query: no later token can leak."""
        return Prompts(self.tokens[:, : 2 * k + 1], self.answers[:, : k + 1])


def assemble(x: Tensor, y: Tensor) -> Prompts:
    """Interleaves x (B, n + 1, d) with y (B, n + 1), leaving the query's answer out."""
    tokens = torch.zeros(len(x), 2 * x.shape[1], x.shape[2])
    tokens[:, 0::2], tokens[:, 1::2, 0] = x, y
    return Prompts(tokens[:, :-1], y)


class Draws:
    """The prompts of a run, from the random numbers that its setup has.

    Torch's go on after the initial weights: a check, and training with more checks in between.
    Numpy's: a batch is a pure function of (seed, step).
    """

    def __init__(self, config: Config, after_weights: torch.Generator):
        self.config, self.generator = config, after_weights

    def batch(self, step: int) -> Prompts:
        """The prompts of the next training step, which is this one, counted from 0."""
        config = self.config
        if config.random_numbers == "numpy":
            return prompts(generator(TRAINING, config.seed, step), config, config.batch_size)
        return source_prompts(self.generator, config, config.batch_size, begins=step == 0)

    def check(self) -> Prompts:
        """The prompts of the source's next check."""
        return source_prompts(self.generator, self.config, CHECK_PROMPTS)


def source_prompts(
    random: torch.Generator, config: Config, n_prompts: int, std: float = 1.0, begins: bool = True
) -> Prompts:
    """y = wᵀx, x ~ N(0, std²), w ~ N(0, 1): for each prompt first its x, then its w.

    Where they begin, PyTorch's data loader draws a 64-bit integer of its own.
    """
    if begins:
        torch.empty((), dtype=torch.int64).random_(generator=random)
    x = torch.empty(n_prompts, config.n_examples + 1, config.d)
    w = torch.empty(n_prompts, config.d, 1)
    for own_x, own_w in zip(x, w):
        own_x.normal_(0, std, generator=random)
        own_w.normal_(0, 1, generator=random)
    return assemble(x, (x @ w).squeeze(-1))


def source_tests(config: Config) -> Iterator[tuple[float, Prompts]]:
    """The ten tests of a run: the standard deviation of x, itself drawn from U(0, 2), and prompts.

    The source's three seeds go on in one stream; any other has the tests of its first.
    """
    random = torch.Generator().manual_seed(TEST_SEED)
    before = N_TESTS * TEST_ORDER.index(config.seed) if config.seed in TEST_ORDER else 0
    for test in range(before + N_TESTS):
        std = 2 * float(torch.rand(1, generator=random))
        prompts = source_prompts(random, config, TEST_PROMPTS, std)
        if test >= before:
            yield std, prompts


def generator(stream: int, *seeds: int) -> np.random.Generator:
    """Random numbers that depend on (stream, *seeds) alone."""
    return np.random.default_rng((stream, *seeds))


def linear(rng: np.random.Generator, x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """y = wᵀx, w ~ N(0, I_d), without noise (Garg et al. 2022, arXiv 2208.01066, §3)."""
    return np.einsum("bnd,bd->bn", x, w)


def sparse(rng: np.random.Generator, x: np.ndarray, w: np.ndarray, kept: int = 2) -> np.ndarray:
    """y = √(d / 2) wᵀx, all but two coordinates of w at zero (Garg et al. §5; two is ours)."""
    d = w.shape[1]
    chosen = rng.random(w.shape).argsort(axis=1) < kept
    return linear(rng, x, w * chosen) * np.sqrt(d / min(d, kept), dtype=np.float32)


def network(rng: np.random.Generator, x: np.ndarray, w: np.ndarray, units: int = 100) -> np.ndarray:
    """y = Σ_j a_j max(0, v_jᵀx), 100 units, v_j, a_j / √(2 / 100) ~ N(0, 1) (Garg et al. §5)."""
    v = rng.standard_normal((len(x), units, x.shape[-1]), dtype=np.float32)
    a = np.sqrt(2 / units, dtype=np.float32) * rng.standard_normal((len(x), units, 1), np.float32)
    return (np.maximum(x @ v.mT, 0) @ a)[..., 0]


def tree(rng: np.random.Generator, x: np.ndarray, w: np.ndarray, depth: int = 4) -> np.ndarray:
    """y = √d · the leaf, N(0, 1), that signs of random coordinates lead to, depth 4 (Garg §5)."""
    n_prompts, n_points, d = x.shape
    asked = rng.integers(d, size=(n_prompts, 2**depth - 1))
    leaves = np.sqrt(d, dtype=np.float32) * rng.standard_normal((n_prompts, 2**depth), np.float32)
    node = np.zeros((n_prompts, n_points), dtype=int)
    for _ in range(depth):
        coordinate = np.take_along_axis(asked, node, axis=1)
        value = np.take_along_axis(x, coordinate[..., None], axis=2)[..., 0]
        node = 2 * node + 1 + (value > 0)
    return np.take_along_axis(leaves, node - (2**depth - 1), axis=1)


FUNCTIONS = {"linear": linear, "sparse": sparse, "network": network, "tree": tree}


def prompts(rng: np.random.Generator, config: Config, n_prompts: int) -> Prompts:
    """Prompts of the config's function class with x ~ N(0, I_d); the same x for every class."""
    w = rng.standard_normal((n_prompts, config.d), dtype=np.float32)
    x = rng.standard_normal((n_prompts, config.n_examples + 1, config.d), dtype=np.float32)
    y = FUNCTIONS[config.function_class](rng, x, w)
    return assemble(torch.from_numpy(x), torch.from_numpy(y))


def evaluation_prompts(config: Config) -> Prompts:
    """The fixed prompts of the target task, x at std 1: the same for every run compared."""
    return prompts(generator(EVALUATION, 0), config, config.evaluation_prompts)
