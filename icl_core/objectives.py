"""What a training step asks of its prompts: a function an objective."""

from functools import lru_cache, partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from icl_core.config import HINTS, OBJECTIVES, Config
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


def at_random_k(objective, prompts: Prompts, config: Config, step: int) -> Asked:
    """The objective's, of prompts cut to a random number of examples, 0 … n alike."""
    return objective(prompts.cut(random_k(config, step)), config, step)


def random_k(config: Config, step: int) -> int:
    """0 … n, each as likely."""
    return int(generator(LENGTHS, config.seed, step).integers(config.n_examples + 1))


def hidden(prompts: Prompts, config: Config, step: int) -> Asked:
    """The query, and the examples, any set of 0 … n alike, whose answers no token may look at."""
    rng = generator(HIDING, config.seed, step)
    examples = np.sort(rng.permutation(config.n_examples)[: rng.integers(config.n_examples + 1)])
    points = torch.tensor([*examples, config.n_examples])  # and the query
    change = torch.zeros(1, 1, 1, 1, config.n_tokens)
    change[..., 2 * examples + 1] = -torch.inf
    return Asked(prompts.tokens, prompts.answers[:, points], 2 * points, change)


def queries(prompts: Prompts, config: Config, step: int) -> Asked:
    """Every x behind the first k examples, k random; it sees those and itself: nobody can copy."""
    first, places = 2 * random_k(config, step), torch.arange(config.n_tokens)
    seen = (places < first) | torch.eye(config.n_tokens, dtype=torch.bool)
    change = torch.where(seen, 0.0, -torch.inf)[None, None, None]
    return Asked(prompts.tokens, prompts.answers[:, first // 2 :], slice(first, None, 2), change)


def query_later(prompts: Prompts, config: Config, step: int) -> Asked:
    """All x-tokens for 1 000 steps, then the query alone."""
    return (all_tokens if step < 1_000 else query)(prompts, config, step)


def hinted(prompts: Prompts, config: Config, step: int, steps: range, **hint) -> Asked:
    """All x-tokens; in some steps some heads have a hint whom to look at."""
    asked = all_tokens(prompts, config, step)
    return asked._replace(change=hinting(config, **hint)) if step in steps else asked


@lru_cache
def hinting(config: Config, heads: int, back: int = 0, added: float = 5.0) -> Tensor:
    """(1, layers, H, L, L): what is added at y_i → x_{i - back} in the first heads of layer 1."""
    y = torch.arange(1 + 2 * back, config.n_tokens, 2)
    change = torch.zeros(1, config.n_layers, config.n_heads, config.n_tokens, config.n_tokens)
    change[0, 0, :heads, y, y - 1 - 2 * back] = added
    return change.to(config.device)


FUNCTIONS = [all_tokens, query, partial(at_random_k, query), partial(at_random_k, all_tokens)]
FUNCTIONS += [hidden, queries, query_later, *(partial(hinted, **own) for own in HINTS.values())]
BY_NAME = dict(zip(OBJECTIVES, FUNCTIONS, strict=True))


def asked(prompts: Prompts, config: Config, step: int) -> Asked:
    """This step's prompts as the config's objective sees them, on its device."""
    parts = BY_NAME[config.objective](prompts, config, step)
    return Asked(*(p.to(config.device) if isinstance(p, Tensor) else p for p in parts))


def loss(predictions: Tensor, answers: Tensor, d: int) -> Tensor:
    """Squared error / d, mean over all of predictions (T, B, R); answers: (B, R)."""
    return torch.nn.functional.mse_loss(predictions, answers.expand_as(predictions)) / d
