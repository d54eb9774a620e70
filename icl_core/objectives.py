"""What a training step asks of its prompts: a function an objective."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from icl_core.config import OBJECTIVES as NAMES
from icl_core.config import Config
from icl_core.model import QUERY, X_TOKENS, Rows
from icl_core.sampler import HIDING, LENGTHS, Prompts, generator


class Asked(NamedTuple):
    """A step's prompts as an objective sees them; the query's answer is never among the tokens."""

    tokens: Tensor  # (B, L, d)
    answers: Tensor  # (B, R), those asked for
    rows: Rows  # the R tokens that they are asked of
    change: Tensor | None = None  # added to the attention scores, as in LoopedTransformer.forward


def all_tokens(prompts: Prompts, config: Config, step: int) -> Asked:
    """Every x-token of the prompt: the source's."""
    return Asked(prompts.tokens, prompts.answers, X_TOKENS)


def query(prompts: Prompts, config: Config, step: int) -> Asked:
    """The query alone."""
    return Asked(prompts.tokens, prompts.answers[:, -1:], QUERY)


def at_random_k(objective: Callable[..., Asked]) -> Callable[..., Asked]:
    """The same of prompts cut to a random number of examples, 0 … n alike."""

    def of_cut_prompts(prompts: Prompts, config: Config, step: int) -> Asked:
        k = int(generator(LENGTHS, config.seed, step).integers(config.n_examples + 1))
        return objective(prompts.cut(k), config, step)

    return of_cut_prompts


def hidden(prompts: Prompts, config: Config, step: int) -> Asked:
    """The query, and the examples, any set of 0 … n alike, whose answers no token may look at."""
    rng = generator(HIDING, config.seed, step)
    examples = np.sort(rng.permutation(config.n_examples)[: rng.integers(config.n_examples + 1)])
    points = torch.tensor([*examples, config.n_examples])  # and the query
    change = torch.zeros(1, 1, 1, 1, config.n_tokens)
    change[..., 2 * examples + 1] = -torch.inf
    return Asked(prompts.tokens, prompts.answers[:, points], 2 * points, change)


FUNCTIONS = all_tokens, query, at_random_k(query), at_random_k(all_tokens), hidden
OBJECTIVES = dict(zip(NAMES, FUNCTIONS, strict=True))


def asked(prompts: Prompts, config: Config, step: int) -> Asked:
    """This step's prompts as the config's objective sees them, on its device."""
    parts = OBJECTIVES[config.objective](prompts, config, step)
    return Asked(*(p.to(config.device) if isinstance(p, Tensor) else p for p in parts))


def loss(predictions: Tensor, answers: Tensor, d: int) -> Tensor:
    """Squared error / d, mean over all of predictions (T, B, R); answers: (B, R)."""
    return F.mse_loss(predictions, answers.expand_as(predictions)) / d
