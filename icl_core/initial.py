"""Initial weights: the source's, from torch's generator, or the textbook's, from numpy's."""

import numpy as np
import torch
from torch import Tensor, nn

from icl_core.config import Config
from icl_core.model import LoopedTransformer
from icl_core.sampler import WEIGHTS, generator


def initial_model(config: Config) -> tuple[LoopedTransformer, torch.Generator]:
    """The model before its first step, and torch's random numbers as the weights left them.

    Source: PyTorch's default for every layer, in the order of making. With init gpt2 the blocks are
    N(0, 0.02), residual projections N(0, 0.02 / √(2 layers)), biases 0, by numpy; with numpy's
    random numbers the other weights, too. Rows have the standard deviation table_std.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = LoopedTransformer(config)
        after = torch.Generator().set_state(torch.get_rng_state())
    rng = generator(WEIGHTS, config.seed)
    with torch.no_grad():
        if config.random_numbers == "numpy":
            for layer in (model.read_in, model.read_out):
                bound = layer.in_features**-0.5
                for parameter in (layer.weight, layer.bias):
                    _fill(parameter, rng.uniform(-bound, bound, parameter.shape[::-1]))
        if config.init == "gpt2":
            _fill_blocks(model, rng)
        for table, stream in model.encoding.streams.items():
            rows = model.encoding.get_submodule(table).weight
            if config.random_numbers == "numpy":
                drawn = rng if stream is None else generator(WEIGHTS, config.seed, stream)
                _fill(rows, config.table_std * drawn.standard_normal(rows.shape).T)
            else:
                rows.mul_(config.table_std)
        if config.small_read_in:  # its stream is none of an encoding's
            drawn, weight = generator(WEIGHTS, config.seed, 3), model.read_in.weight
            _fill(weight, 0.02 * drawn.standard_normal(weight.shape[::-1]))
            nn.init.zeros_(model.read_in.bias)
    return model.to(config.device), after


def _fill_blocks(model: LoopedTransformer, rng: np.random.Generator) -> None:
    """Radford et al. 2019, §2.3; q first, then k and v together, then what follows in a block."""
    width, residual = model.config.width, 0.02 / np.sqrt(2 * len(model.blocks))
    for block in model.blocks:
        layers = block.attention.qkv, block.attention.out, block.mlp_in, block.mlp_out
        for layer, std in zip(layers, (0.02, residual, 0.02, residual)):
            sizes = [width, 2 * width] if layer is block.attention.qkv else [layer.out_features]
            parts = [rng.standard_normal((layer.in_features, size)) for size in sizes]
            _fill(layer.weight, std * np.concatenate(parts, axis=1))
            nn.init.zeros_(layer.bias)


def _fill(parameter: Tensor, values: np.ndarray) -> None:
    """values: (in, out), as GPT-2 has them."""
    parameter.copy_(torch.from_numpy(values.T.astype(np.float32)))
