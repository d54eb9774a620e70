"""The published numbers of the source, from its random numbers, to the last digit."""

import pandas as pd
import pytest
import torch

from icl_core import evaluation, records, sampler, training
from icl_core.config import Config
from icl_core.initial import initial_model

PUBLISHED = records.PROJECT / "data" / "source" / "published"
RUNS = pd.read_csv(PUBLISHED / "runs.csv", keep_default_na=False)
FIRST = [1, 2, 3, 5, 10]
QUICK = [("none", 1, 42), ("SPE", 1, 1984), ("LPE + CM", 1, 451), ("SPE + CM", 5, 42)]


@pytest.mark.parametrize(
    ("variant", "b", "seed"),
    [
        pytest.param(*run, marks=[] if run in QUICK else pytest.mark.long)
        for run in RUNS[["variant", "b", "seed"]].itertuples(index=False, name=None)
    ],
)
def test_the_first_losses_are_the_published_ones(variant, b, seed):
    """Weights, the check before training, batches and Adam, in the source's order."""
    published = RUNS.query("variant == @variant and b == @b and seed == @seed").iloc[0]
    config = Config(variant=variant, b=b, seed=seed)
    with training.one_thread(config):
        model, after_weights = initial_model(config)
        draws, optimiser = sampler.Draws(config, after_weights), training.adam(config, model)
        check = evaluation.mean_iteration_error(model, draws.check())
        losses = [
            float(training.update(config, model, optimiser, draws, step)) for step in range(10)
        ]
    assert check == pytest.approx(published.eval_0, rel=2e-6)
    ours = [losses[step - 1] for step in FIRST]
    assert ours == pytest.approx([published[f"loss_{step}"] for step in FIRST], rel=2e-6)


@pytest.mark.parametrize(("variant", "parameters"), [("none", 101_064), ("LPE", 109_192)])
def test_the_number_of_parameters_is_the_source_s(variant, parameters):
    model, _ = initial_model(Config(variant=variant))
    assert sum(p.numel() for p in model.parameters()) == parameters


@pytest.mark.parametrize("seed", [42, 451, 1984])
def test_the_tests_have_the_published_scales(seed):
    published = pd.read_csv(PUBLISHED / "tests.csv").query("seed == @seed")["std"]
    config = Config(seed=seed, n_examples=63)
    assert [std for std, _ in sampler.source_tests(config)] == pytest.approx(
        list(published), abs=1e-6
    )


def test_the_sources_random_numbers_leave_torch_s_own_alone():
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    _, after_weights = initial_model(Config(variant="LPE"))
    sampler.Draws(Config(), after_weights).check()
    assert torch.equal(torch.rand(3), expected)
