"""What the tests of icl_core share: moved weights, few prompts in the source's checks."""

import pytest
import torch

from icl_core import sampler
from icl_core.model import LoopedTransformer


@pytest.fixture(scope="session")
def perturbed():
    """perturbed(config) -> its model, every parameter moved: biases and gains count too."""

    def build(config, seed=0, scale=0.2):
        noise = torch.Generator().manual_seed(seed)
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(seed)
            model = LoopedTransformer(config)
            for parameter in model.parameters():
                parameter.add_(scale * torch.randn(parameter.shape, generator=noise))
        return model

    return build


@pytest.fixture
def few_prompts(monkeypatch):
    """The source's checks and tests take thirteen thousand prompts, most of a tiny run's time."""
    monkeypatch.setattr(sampler, "CHECK_PROMPTS", 6)
    monkeypatch.setattr(sampler, "TEST_PROMPTS", 6)
