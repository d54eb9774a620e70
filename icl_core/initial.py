"""Initial weights: the source's, from torch's generator, or the textbook's, from numpy's."""

import math

import numpy as np
import torch
from torch import Tensor, nn

from icl_core.config import Config
from icl_core.model import LoopedTransformer
from icl_core.sampler import WEIGHTS, generator

SMALL_READ_IN = 3  # the stream of its random numbers


def initial_model(config: Config) -> tuple[LoopedTransformer, torch.Generator]:
    """The model before its first step, and torch's random numbers as the weights left them.

    Source: PyTorch's default for every layer, drawn in the order of making after the generator was
    seeded; the global generator is left as it was. With init gpt2 the blocks are N(0, 0.02) and
    residual projections N(0, 0.02 / √(2 layers)), biases 0, drawn from (seed) by numpy: with the
    source's random numbers its other weights and its prompts stay as they were, with numpy's every
    weight comes from there. A learned encoding's rows have standard deviation table_std, a small
    read-in's weights 0.02. N(0, σ): σ is the standard deviation.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = LoopedTransformer(config)
        after = torch.Generator()
        after.set_state(torch.get_rng_state())
    with torch.no_grad():
        rng = generator(WEIGHTS, config.seed)
        if config.random_numbers == "numpy":
            for layer in (model.read_in, model.read_out):
                bound = layer.in_features**-0.5
                _fill(layer.weight, rng.uniform(-bound, bound, layer.weight.T.shape).T)
                _fill(layer.bias, rng.uniform(-bound, bound, layer.bias.shape))
        if config.init == "gpt2":
            _gpt2_blocks(model, config, rng)
        for name, stream in model.encoding.streams.items():
            rows = getattr(model.encoding, name).weight
            if config.random_numbers == "numpy":
                drawn = rng if stream is None else generator(WEIGHTS, config.seed, stream)
                _fill(rows, drawn.standard_normal(rows.shape) * config.table_std)
            else:
                rows.mul_(config.table_std)
        if config.small_read_in:
            drawn = generator(WEIGHTS, config.seed, SMALL_READ_IN)
            weight = model.read_in.weight
            _fill(weight, 0.02 * drawn.standard_normal(weight.T.shape).T)
            nn.init.zeros_(model.read_in.bias)
    return model.to(config.device), after


def _gpt2_blocks(model: LoopedTransformer, config: Config, rng: np.random.Generator) -> None:
    """Radford et al. 2019, §2.3; q first, then k and v together, then what follows in a block."""
    width, residual = config.width, 0.02 / math.sqrt(2 * config.n_layers)
    for block in model.blocks:
        query = 0.02 * rng.standard_normal((width, width))
        key_value = 0.02 * rng.standard_normal((width, 2 * width))
        _fill(block.attention.qkv.weight, np.concatenate([query, key_value], axis=1).T)
        for layer, std in (
            (block.attention.out, residual),
            (block.mlp_in, 0.02),
            (block.mlp_out, residual),
        ):
            _fill(layer.weight, std * rng.standard_normal(layer.weight.T.shape).T)
        for layer in (block.attention.qkv, block.attention.out, block.mlp_in, block.mlp_out):
            nn.init.zeros_(layer.bias)


def _fill(parameter: Tensor, values: np.ndarray) -> None:
    parameter.copy_(torch.from_numpy(values.astype(np.float32)))
