"""The target task: the error of the answer to the query, and what a model does inside."""

from collections.abc import Sequence
from contextlib import ExitStack

import numpy as np
import torch
from scipy import optimize, stats
from torch import Tensor

from icl_core.config import Config
from icl_core.model import QUERY, X_TOKENS, LoopedTransformer
from icl_core.sampler import Prompts, source_tests

CHUNK = 64  # prompts in one forward pass; bounds the memory
PROBE_PROMPTS, ATTENTION_PROMPTS = 256, 32  # behind a row of probes.csv, of attention.csv


@torch.no_grad()
def target_errors(
    model: LoopedTransformer, prompts: Prompts, ks: Sequence[int], loops=None, change=None
) -> np.ndarray:
    """(T, K, B): (ŷ_q - y_q)² / d after each iteration, with k examples before the query.

    The prompt is cut after x_{k+1}, so that no later token can leak. Under a causal mask nothing
    can, and one pass gives all k at once. loops and change are those of the model.
    """
    chunks, ks, places = [], list(ks), torch.tensor(list(ks))
    for part in zip(*(own.to(model.config.device).split(CHUNK) for own in prompts)):
        tokens, answers = part = Prompts(*part)
        if model.config.mask == "CM" and len(ks) > 1:
            predictions = model(tokens, X_TOKENS, loops, change)[:, :, places]
        else:
            cut = [model(part.cut(k).tokens, QUERY, loops, change) for k in ks]
            predictions = torch.cat(cut, dim=-1)
        chunks.append((predictions - answers[:, places]).square().mT.cpu() / model.config.d)
    return torch.cat(chunks, dim=-1).double().numpy()


def query_error(model: LoopedTransformer, prompts: Prompts, change: Tensor | None = None) -> float:
    """The target error of full prompts after the last iteration, mean over them."""
    return float(target_errors(model, prompts, [model.config.n_examples], change=change)[-1].mean())


def mean_iteration_error(model: LoopedTransformer, prompts: Prompts) -> float:
    """The source's measure: the target error of full prompts, mean over the iterations."""
    return float(target_errors(model, prompts, [model.config.n_examples]).mean())


def error_rows(model: LoopedTransformer, prompts: Prompts) -> list[tuple]:
    """Rows (loops, k, error, low, high): mean over prompts, and its 95 % bootstrap interval.

    After the last iteration for every k, after each earlier one for k = n.
    """
    errors = target_errors(model, prompts, range(model.config.n_examples + 1))
    told = np.zeros(errors.shape[:2], dtype=bool)
    told[-1] = told[:, -1] = True
    (loops, k), rows = np.nonzero(told), errors[told]
    low, high = stats.bootstrap(
        (rows,), np.mean, axis=-1, n_resamples=1000, batch=20, rng=0, method="percentile"
    ).confidence_interval
    return list(zip(loops + 1, k, rows.mean(axis=-1), low, high))


def test_rows(model: LoopedTransformer) -> list[tuple]:
    """Rows (launch, std, error): the source's ten tests, not divided by the variance of x."""
    tests = enumerate(source_tests(model.config), start=1)
    return [(launch, std, mean_iteration_error(model, own)) for launch, (std, own) in tests]


def hiding(config: Config, rows, columns, layers: Sequence[int] = ()) -> Tensor:
    """(1, layers, 1, L, L): -inf where token rows[i] may not see columns[i], in layers (() all)."""
    change = torch.zeros(1, config.n_layers, 1, config.n_tokens, config.n_tokens)
    for layer in layers or range(config.n_layers):
        change[0, layer, 0, list(rows), list(columns)] = -torch.inf
    return change


def pair_hidden(config: Config, layers: Sequence[int] = ()) -> Tensor:
    """Hides y_i → x_i: no answer may look at its own coordinates."""
    return hiding(config, range(1, config.n_tokens, 2), range(0, config.n_tokens - 1, 2), layers)


@torch.no_grad()
def planted_error(model: LoopedTransformer, prompts: Prompts, change=None) -> float:
    """Squared error / d, mean over prompts, of the middle example's prediction from a planted y_i.

    That is another prompt's: a model that copies scores 0, one that does not about 2.
    """
    i, tokens = model.config.n_examples // 2, prompts.tokens.clone().to(model.config.device)
    planted = tokens[:, 2 * i + 1, 0] = tokens[:, 2 * i + 1, 0].roll(1)
    parts = [model(part, change=change)[-1, :, i] for part in tokens.split(CHUNK)]
    return float((torch.cat(parts) - planted).square().mean()) / model.config.d


@torch.no_grad()
def attention_maps(model: LoopedTransformer, tokens: Tensor) -> Tensor:
    """(T, layers, B, H, L, L): how much each token of tokens (B, L, d) draws on each other."""
    kept = []

    def keep(block, inputs):
        x, bias, rotation, _ = inputs
        kept.append(block.attention.weights(block.norm_1(x), bias, rotation).cpu())

    with ExitStack() as hooks:
        for block in model.blocks:
            hooks.enter_context(block.register_forward_pre_hook(keep))
        model(tokens.to(model.config.device), QUERY)
    return torch.stack(kept).unflatten(0, (-1, len(model.blocks)))


def probe(model: LoopedTransformer, prompts: Prompts) -> tuple[tuple, list[tuple]]:
    """A look inside, on fixed prompts: what a row of probes.csv and rows of attention.csv hold.

    Target error; with y_i → x_i hidden in layer 1, in all layers; error against a planted answer.
    Then (loop, layer, head, weight of y_i → x_i, of x_i → y_i), means over i and prompts.
    """
    few, config = prompts.first(PROBE_PROMPTS), model.config
    changes = None, *(pair_hidden(config, layers).to(config.device) for layers in ([0], []))
    errors = [query_error(model, few, change) for change in changes]
    maps = attention_maps(model, prompts.first(ATTENTION_PROMPTS).tokens)
    pairs = maps[..., 1::2, :-1:2], maps[..., :-1:2, 1::2]
    weights = torch.stack([own.diagonal(dim1=-2, dim2=-1).mean(dim=(2, 4)) for own in pairs], -1)
    places = np.ndindex(*weights.shape[:-1])
    rows = [(t + 1, i + 1, h + 1, *weights[t, i, h].tolist()) for t, i, h in places]
    return (*errors, planted_error(model, few)), rows


def gradient_steps(prompts: Prompts, k: int, rates: Sequence[float]) -> Tensor:
    """(B,): x_{k+1}ᵀw after a gradient step a rate, from w = 0 (von Oswald, arXiv 2212.07677, §3).

    w ← w + rate · mean_i (y_i - wᵀx_i) x_i; without examples w stays 0.
    """
    tokens = prompts.cut(k).tokens.double()
    x, y, query = tokens[:, :-1:2], tokens[:, 1::2, :1], tokens[:, -1, :, None]
    w = torch.zeros_like(query)
    for rate in rates:
        w = w + rate * (x.mT @ (y - x @ w)) / max(k, 1)
    return (w * query).sum(dim=(1, 2))


def best_rates(prompts: Prompts, k: int, steps: int) -> np.ndarray:
    """(steps,), for 1 or 2: the rates of gradient_steps with the least mean squared error there."""

    def error(rates):
        return float((gradient_steps(prompts, k, rates) - prompts.answers[:, k]).square().mean())

    return optimize.minimize(error, [0.5] * steps, method="Nelder-Mead").x
