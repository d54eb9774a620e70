"""What a training step asks of its prompts: a function an objective."""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from icl_core import evaluation
from icl_core.config import HINTS, Config
from icl_core.config import OBJECTIVES as NAMES
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
        return objective(prompts.cut(random_k(config, step)), config, step)

    return of_cut_prompts


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
    y, n = range(1 + 2 * back, config.n_tokens, 2), config.n_examples - back
    looks = evaluation.hiding(config, y, range(0, 2 * n, 2), [0]).isinf()
    led = looks & (torch.arange(config.n_heads) < heads)[:, None, None]
    return torch.where(led, added, 0.0).to(config.device)


FUNCTIONS = [all_tokens, query, at_random_k(query), at_random_k(all_tokens), hidden, queries]
FUNCTIONS += [query_later, *(partial(hinted, **own) for own in HINTS.values())]
OBJECTIVES = dict(zip(NAMES, FUNCTIONS, strict=True))


def asked(prompts: Prompts, config: Config, step: int) -> Asked:
    """This step's prompts as the config's objective sees them, on its device."""
    parts = OBJECTIVES[config.objective](prompts, config, step)
    return Asked(*(p.to(config.device) if isinstance(p, Tensor) else p for p in parts))


def loss(predictions: Tensor, answers: Tensor, d: int) -> Tensor:
    """Squared error / d, mean over all of predictions (T, B, R); answers: (B, R)."""
    return F.mse_loss(predictions, answers.expand_as(predictions)) / d
