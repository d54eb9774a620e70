"""The target task: the error of the answer to the query, and what a model does inside."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from scipy import stats
from torch import Tensor

from icl_core import sampler
from icl_core.config import Config
from icl_core.model import QUERY, X_TOKENS, LoopedTransformer
from icl_core.sampler import Prompts

CHUNK = 64  # prompts in one forward pass; bounds the memory
PROBE_PROMPTS = 256  # behind a row of probes.csv
ATTENTION_PROMPTS = 32  # behind a row of attention.csv


@torch.no_grad()
def target_errors(
    model: LoopedTransformer,
    prompts: Prompts,
    ks: Sequence[int],
    loops: int | None = None,
    change: Tensor | None = None,
    one_pass: bool | None = None,
) -> np.ndarray:
    """(T, K, B): (ŷ_q - y_q)² / d after each iteration, with k examples before the query.

    The prompt is cut after x_{k+1}, which then is the query, so that no later token can leak.
    Under a causal mask nothing can, and one pass over the whole prompt gives all k at once;
    one_pass = None takes it there.
    """
    one_pass = model.config.mask == "CM" and len(ks) > 1 if one_pass is None else one_pass
    chunks = []
    for tokens, answers in zip(*(part.split(CHUNK) for part in prompts)):
        tokens, answers = tokens.to(model.config.device), answers.to(model.config.device)
        if one_pass:
            predictions = model(tokens, X_TOKENS, loops, change)[:, :, list(ks)]
        else:
            cut = [model(tokens[:, : 2 * k + 1], QUERY, loops, change) for k in ks]
            predictions = torch.cat(cut, dim=-1)
        errors = (predictions - answers[:, list(ks)]) ** 2 / tokens.shape[-1]
        chunks.append(errors.mT.cpu())
    return torch.cat(chunks, dim=-1).double().numpy()


def query_error(model: LoopedTransformer, prompts: Prompts, change: Tensor | None = None) -> float:
    """The target error of full prompts after the last iteration, mean over them."""
    n = model.config.n_examples
    return float(target_errors(model, prompts, [n], change=change)[-1].mean())


def errors_table(model: LoopedTransformer, prompts: Prompts) -> pd.DataFrame:
    """Rows (loops, k, error, low, high): mean over prompts, and its 95 % bootstrap interval.

    After the last iteration for every k, after each earlier one for k = n.
    """
    ks = list(range(model.config.n_examples + 1))
    errors = target_errors(model, prompts, ks)
    keys = [(t + 1, ks[-1]) for t in range(len(errors) - 1)] + [(len(errors), k) for k in ks]
    rows = np.concatenate([errors[:-1, -1], errors[-1]])
    means = stats.bootstrap(
        (rows,), np.mean, axis=-1, n_resamples=1000, batch=20, rng=0, method="percentile"
    )
    low, high = means.confidence_interval
    table = [(*key, *own) for key, *own in zip(keys, rows.mean(axis=-1), low, high)]
    return pd.DataFrame(table, columns=["loops", "k", "error", "low", "high"])


def mean_iteration_error(model: LoopedTransformer, prompts: Prompts) -> float:
    """The source's measure: the target error of full prompts, mean over the iterations."""
    return float(target_errors(model, prompts, [model.config.n_examples]).mean())


def tests_table(model: LoopedTransformer) -> pd.DataFrame:
    """Rows (launch, std, error): the source's ten tests, not divided by the variance of x."""
    rows = [
        (launch + 1, std, mean_iteration_error(model, prompts))
        for launch, (std, prompts) in enumerate(sampler.source_tests(model.config))
    ]
    return pd.DataFrame(rows, columns=["launch", "std", "error"])


# What a model does inside.


def hiding(
    config: Config, rows: Sequence[int], columns: Sequence[int], layers: Sequence[int] = ()
) -> Tensor:
    """(1, layers, 1, L, L), for the scores: token rows[i] may not look at columns[i], -inf there.

    layers: counted from 0; () is all of them.
    """
    change = torch.zeros(1, config.n_layers, 1, config.n_tokens, config.n_tokens)
    for layer in layers or range(config.n_layers):
        change[0, layer, 0, list(rows), list(columns)] = -math.inf
    return change


def pair_hidden(config: Config, layers: Sequence[int] = ()) -> Tensor:
    """Hides y_i → x_i: no answer may look at its own coordinates."""
    return hiding(config, range(1, config.n_tokens, 2), range(0, config.n_tokens - 1, 2), layers)


@torch.no_grad()
def planted_error(model: LoopedTransformer, prompts: Prompts) -> float:
    """How far the prediction at the middle x_i is from an answer planted there: squared error / d.

    y_i of the prompt is replaced by another prompt's: a model that copies scores 0, one that does
    not about 2. Mean over prompts.
    """
    i = model.config.n_examples // 2
    planted = prompts.answers[:, i].roll(1).to(model.config.device)
    replaced = prompts.tokens.clone().to(model.config.device)
    replaced[:, 2 * i + 1, 0] = planted
    predictions = torch.cat([model(tokens)[-1, :, i] for tokens in replaced.split(CHUNK)])
    return float((predictions - planted).square().mean()) / model.config.d


@torch.no_grad()
def attention_maps(model: LoopedTransformer, tokens: Tensor) -> Tensor:
    """(T, layers, B, H, L, L): how much each token of tokens (B, L, d) draws on each other."""
    kept = []

    def keep(block, inputs):
        x, bias, rotation, _ = inputs
        kept.append(block.attention.weights(block.norm_1(x), bias, rotation).cpu())

    hooks = [block.register_forward_pre_hook(keep) for block in model.blocks]
    try:
        model(tokens.to(model.config.device), QUERY)
    finally:
        for hook in hooks:
            hook.remove()
    return torch.stack(kept).unflatten(0, (-1, len(model.blocks)))


def probe(model: LoopedTransformer, prompts: Prompts) -> tuple[tuple, list[tuple]]:
    """A look inside, on fixed prompts: what a row of probes.csv and rows of attention.csv hold.

    Target error; the same with y_i → x_i hidden in layer 1, and in all layers; error against a
    planted answer. Then (loop, layer, head, weight of y_i → x_i, of x_i → y_i), means over i and
    prompts; without a mask, 1 / (2 n + 1) where attention is uniform.
    """
    few, config = prompts.first(PROBE_PROMPTS), model.config
    errors = [query_error(model, few)] + [
        query_error(model, few, pair_hidden(config, layers).to(config.device))
        for layers in ([0], [])
    ]
    maps = attention_maps(model, prompts.first(ATTENTION_PROMPTS).tokens)
    y_to_x = maps[..., 1::2, :-1:2].diagonal(dim1=-2, dim2=-1).mean(dim=(2, 4))
    x_to_y = maps[..., :-1:2, 1::2].diagonal(dim1=-2, dim2=-1).mean(dim=(2, 4))
    rows = [
        (t + 1, layer + 1, head + 1, float(weight), float(x_to_y[t, layer, head]))
        for (t, layer, head), weight in np.ndenumerate(y_to_x.numpy())
    ]
    return (*errors, planted_error(model, few)), rows
