"""What the tests share: one thread, a configuration that trains in a second, perturbed models."""

import os

os.environ["TQDM_DISABLE"] = "1"  # before anything imports tqdm

import pytest
import torch
from hypothesis import settings

from icl_report.config import Config
from icl_report.model import LoopedTransformer

torch.set_num_threads(1)
settings.register_profile("tests", deadline=None, derandomize=True, database=None, max_examples=40)
settings.load_profile("tests")

TINY = {
    "variants": ("CM", "LPE"),
    "n_heads": 2,
    "width": 16,
    "mlp_width": 32,
    "d": 2,
    "n_examples": 5,
    "batch_size": 8,
    "steps": 40,
    "log_every": 10,
    "curve_prompts": 16,
    "evaluation_prompts": 32,
}


@pytest.fixture(scope="session")
def tiny():
    """tiny(b=2, …) -> a Config that differs from the tiny one in what is named."""
    return lambda **changes: Config(**{**TINY, **changes})


@pytest.fixture(scope="session")
def perturbed():
    """perturbed(config, …) -> its model, every parameter moved: biases and gains count too."""

    def build(config, variants=None, seed=0, scale=0.2):
        model = LoopedTransformer(config, config.stack if variants is None else variants)
        noise = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(scale * torch.randn(parameter.shape, generator=noise))
        return model

    return build
