"""Prompts: the source's random numbers in its order, and batches that (seed, step) alone decide."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch.utils.data import DataLoader

from icl_core import sampler
from icl_core.config import FUNCTION_CLASSES, Config
from icl_core.initial import initial_model
from icl_core.model import LoopedTransformer
from icl_core.sampler import Draws, source_prompts

SIZES = {
    "seed": st.integers(0, 2**32 - 1),
    "n_examples": st.integers(1, 12),
    "d": st.integers(1, 6),
}
STEPS = st.integers(0, 10_000_000)
SMALL = {"setup": "smoke", "random_numbers": "numpy", "n_examples": 5, "batch_size": 8}


def batch(config, step):
    """The numpy batch of this step; a generator of torch's that stands anywhere."""
    return Draws(config, torch.Generator()).batch(step)


def points(prompts):
    """x (B, n + 1, d) and y (B, n + 1), in float64."""
    return prompts.tokens[:, 0::2].double().numpy(), prompts.answers.double().numpy()


def equal(ours, theirs):
    return all(torch.equal(mine, yours) for mine, yours in zip(ours, theirs, strict=True))


# What a prompt is.


@pytest.mark.parametrize("random_numbers", ["torch", "numpy"])
@given(step=STEPS, **SIZES)
def test_tokens_are_x_and_y_in_turn_without_the_query_s_answer(
    random_numbers, step, seed, n_examples, d
):
    """2 n + 1 tokens; y_i in the first coordinate, zeros in the rest; y_q nowhere."""
    sizes = {"n_examples": n_examples, "d": d, "random_numbers": random_numbers}
    config = Config(**SMALL | sizes, seed=seed)
    tokens, answers = Draws(config, torch.Generator().manual_seed(seed)).batch(step)
    assert tokens.shape == (8, 2 * n_examples + 1, d)
    assert answers.shape == (8, n_examples + 1)
    assert tokens.dtype == answers.dtype == torch.float32
    assert torch.equal(tokens[:, 1::2, 0], answers[:, :-1])
    assert not tokens[:, 1::2, 1:].any()
    assert not (tokens == answers[:, -1, None, None]).any()


def test_another_answer_to_the_query_leaves_every_token_as_it_is():
    """Stronger than comparing values: no function of y_q is in the prompt either."""
    x, y = torch.randn(3, 5, 2), torch.randn(3, 5)
    other = y.clone()
    other[:, -1] += 1
    before, after = sampler.assemble(x, y), sampler.assemble(x, other)
    assert torch.equal(before.tokens, after.tokens)
    assert torch.equal(after.answers, other)
    other[:, -2] += 1  # the comparison can fail: the last example's answer is a token
    assert not torch.equal(before.tokens, sampler.assemble(x, other).tokens)


def test_the_first_prompts_are_prompts():
    prompts = batch(Config(**SMALL), 0)
    assert equal(prompts.first(3), (prompts.tokens[:3], prompts.answers[:3]))


@pytest.mark.parametrize("k", [0, 2, 5])
def test_a_cut_prompt_is_one_of_fewer_examples(k):
    """x_{k+1} is its query; cut at n it is whole."""
    tokens, answers = batch(Config(**SMALL), 0)
    x, y = tokens[:, 0 : 2 * k + 1 : 2], answers[:, : k + 1]
    assert equal(sampler.Prompts(tokens, answers).cut(k), sampler.assemble(x, y))


@pytest.mark.parametrize("random_numbers", ["torch", "numpy"])
@given(step=STEPS, **SIZES)
def test_every_prompt_is_one_linear_function(random_numbers, step, seed, n_examples, d):
    """With more points than dimensions, least squares leaves no residual: y is in x's span."""
    sizes = {"n_examples": 2 * d + n_examples, "d": d, "random_numbers": random_numbers}
    config = Config(**SMALL | sizes, seed=seed)
    for x, y in zip(*points(Draws(config, torch.Generator().manual_seed(seed)).batch(step))):
        w, _, rank, _ = np.linalg.lstsq(x[:-1], y[:-1])  # the examples determine the answer
        assert rank == d
        np.testing.assert_allclose(x @ w, y, atol=1e-4)


@pytest.mark.parametrize("random_numbers", ["torch", "numpy"])
def test_x_and_w_are_standard_normal(random_numbers):
    """Kolmogorov-Smirnov against N(0, 1), variance and correlation of coordinates; E y² = d."""
    sizes = {"batch_size": 4000, "n_examples": 7, "d": 3, "random_numbers": random_numbers}
    x, y = points(Draws(Config(**SMALL | sizes), torch.Generator().manual_seed(0)).batch(0))
    w = np.stack([np.linalg.lstsq(*pair)[0] for pair in zip(x, y)])
    for values in (x.reshape(-1, 3), w):
        assert stats.kstest(values.ravel(), "norm").pvalue > 1e-3
        np.testing.assert_allclose(np.cov(values.T), np.eye(3), atol=0.08)
    np.testing.assert_allclose(np.corrcoef(x[:, 0].T, x[:, 1].T), np.eye(6), atol=0.08)
    assert (y**2).mean() == pytest.approx(3, rel=0.1)


# The source's random numbers.


def by_hand(random, config, n_prompts, std=1.0):
    """(tokens, answers): for each prompt one call for x and one for w, token after token."""
    tokens = torch.zeros(n_prompts, config.n_tokens, config.d)
    answers = torch.zeros(n_prompts, config.n_examples + 1)
    for i in range(n_prompts):
        x = torch.normal(0, std, (config.n_examples + 1, config.d), generator=random)
        w = torch.normal(0, 1, (config.d, 1), generator=random)
        for j in range(config.n_examples + 1):
            answers[i, j] = sum(x[j, c] * w[c, 0] for c in range(config.d))
            tokens[i, 2 * j] = x[j]
            if j < config.n_examples:
                tokens[i, 2 * j + 1, 0] = answers[i, j]
    return tokens, answers


def assert_close(ours, theirs):
    for mine, yours in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, yours)


@pytest.mark.parametrize("std", [1.0, 0.3])
def test_a_prompt_of_the_source_is_two_calls_of_its_generator(std):
    """One call for a batch gives other numbers: torch draws sixteen and more in another order."""
    config = Config(n_examples=9)
    random, same = (torch.Generator().manual_seed(7) for _ in range(2))
    ours = source_prompts(random, config, 3, std, begins=False)
    assert_close(ours, by_hand(same, config, 3, std))
    assert torch.equal(random.get_state(), same.get_state())
    batched = torch.normal(0, std, (3, 10, 8), generator=random.manual_seed(7))
    assert not torch.allclose(batched, ours.tokens[:, ::2])


def test_a_loader_s_first_draw_is_torch_s_own():
    random, same = (torch.Generator().manual_seed(7) for _ in range(2))
    iter(DataLoader([0, 1], generator=random))
    config = Config(setup="smoke")
    after, whole = source_prompts(random, config, 3, begins=False), source_prompts(same, config, 3)
    assert equal(after, whole) and torch.equal(random.get_state(), same.get_state())


def test_a_run_draws_weights_a_check_training_and_checks_in_between(monkeypatch):
    """EXPERIMENT.md, section 1: one integer before each check and before the first batch."""
    monkeypatch.setattr(sampler, "CHECK_PROMPTS", 5)
    config = Config(setup="smoke", variant="LPE + CM", seed=451)
    draws = Draws(config, initial_model(config)[1])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(451)
        LoopedTransformer(config)
        random = torch.Generator().set_state(torch.get_rng_state())
    for number in ("check", 0, 1, "check", 2, 3, "check"):
        if number in ("check", 0):
            torch.empty((), dtype=torch.int64).random_(generator=random)
        prompts = draws.check() if number == "check" else draws.batch(number)
        assert_close(prompts, by_hand(random, config, 5 if number == "check" else 4))
    assert torch.equal(draws.generator.get_state(), random.get_state())


def test_the_state_restores_what_will_be_drawn():
    """In another process's generator, wherever that one stands."""
    config = Config(setup="smoke")
    draws = Draws(config, torch.Generator().manual_seed(1))
    draws.batch(0)
    kept = draws.generator.get_state()
    expected = [draws.batch(1), draws.check(), draws.batch(2)]
    again = Draws(config, torch.Generator().manual_seed(99))
    again.batch(0), again.check()
    again.generator.set_state(kept)
    assert all(equal(*pair) for pair in zip(expected, [again.batch(1), again.check()]))
    assert equal(again.batch(2), expected[2])
    assert torch.equal(again.generator.get_state(), draws.generator.get_state())


def test_the_source_s_numbers_leave_torch_s_own_alone():
    before = torch.get_rng_state()
    draws = Draws(Config(setup="smoke"), torch.Generator().manual_seed(1))
    draws.batch(0), draws.check(), next(sampler.source_tests(Config(setup="smoke")))
    assert torch.equal(torch.get_rng_state(), before)


def test_the_tests_go_on_from_seed_to_seed(monkeypatch):
    """Ten each of one stream, in the order 42, 451, 1984; any other seed has the first ten."""
    monkeypatch.setattr(sampler, "TEST_PROMPTS", 3)
    random, expected = torch.Generator().manual_seed(4815163242 % 2**31), []
    for _ in range(30):
        std = 2 * torch.rand(1, generator=random).item()
        torch.empty((), dtype=torch.int64).random_(generator=random)
        expected.append((std, by_hand(random, Config(setup="smoke"), 3, std)))
    for seed, first in ((42, 0), (451, 10), (1984, 20), (0, 0), (7, 0)):
        tests = list(sampler.source_tests(Config(setup="smoke", seed=seed)))
        assert len(tests) == 10
        for (std, prompts), (expected_std, by_itself) in zip(tests, expected[first:]):
            assert std == expected_std
            assert_close(prompts, by_itself)


def test_checks_and_tests_have_the_source_s_sizes():
    config = Config(setup="smoke", n_examples=1)
    assert len(Draws(config, torch.Generator()).check().tokens) == 320
    assert [len(prompts.tokens) for _, prompts in sampler.source_tests(config)] == [1280] * 10


# Batches that (seed, step) alone decide.


def test_a_batch_depends_on_nothing_but_seed_and_step():
    """Any order of asking, any state of the global generators: what makes resuming exact."""
    draws = Draws(Config(**SMALL), torch.Generator())
    forwards = {step: draws.batch(step) for step in range(6)}
    torch.manual_seed(5)
    np.random.seed(5)
    for step in (4, 0, 5, 5, 1, 3, 2):
        assert equal(draws.batch(step), forwards[step])


@pytest.mark.parametrize(
    "changes",
    [
        *({"b": 5}, {"variant": "SPE"}, {"device": "cuda"}, {"lr": 1.0}, {"width": 32}),
        *({"objective": "random k"}, {"init": "gpt2"}),
    ],
    ids=str,
)
def test_batches_and_evaluation_are_shared_by_what_is_compared(changes):
    """Same prompts for every b, variant and device: the differences between runs are paired."""
    config, other = Config(**SMALL), Config(**SMALL).model_copy(update=changes)
    assert equal(batch(config, 3), batch(other, 3))
    assert equal(sampler.evaluation_prompts(config), sampler.evaluation_prompts(other))


@pytest.mark.parametrize("setup", ["smoke", "gpt2"])
def test_evaluation_prompts_are_the_same_for_every_seed(setup):
    """The spread over seeds must be the training's, not the evaluation's."""
    one, other = (sampler.evaluation_prompts(Config(setup=setup, seed=seed)) for seed in (0, 7))
    assert equal(one, other)
    assert len(one.tokens) == Config(setup=setup).evaluation_prompts


def test_no_prompt_comes_twice_in_training_or_evaluation():
    """Over seeds (those that equal a stream's number too) and steps, first prompts included."""
    config = Config(**SMALL, curve_prompts=8, evaluation_prompts=8)  # equal streams would be seen
    seen = [sampler.evaluation_prompts(config).tokens]
    for seed in range(6):
        own = config.model_copy(update={"seed": seed})
        seen += [batch(own, step).tokens for step in range(30)]
    prompts = [prompt.numpy().tobytes() for tokens in seen for prompt in tokens]
    assert len(prompts) == 8 + 6 * 30 * 8
    assert len(set(prompts)) == len(prompts)
    coordinates = torch.cat([tokens[:, 0, 0] for tokens in seen])
    assert len(coordinates.unique()) > 0.99 * len(coordinates)  # w differs, and so does x


@given(st.integers(0, 2**32 - 1), STEPS)
def test_streams_differ(seed, step):
    """No two purposes ever read the same random numbers."""
    names = [sampler.TRAINING, sampler.EVALUATION, sampler.WEIGHTS, sampler.BOOTSTRAP]
    names += [sampler.LENGTHS, sampler.HIDING]
    streams = [
        sampler.generator(stream, *seeds).integers(2**62)
        for stream in names
        for seeds in ((seed,), (seed, step + 1))
    ]
    assert len(set(streams)) == len(streams)


RECORDED = {  # an answer of step 17's batch of seed 3, and one of the evaluation, d = 5
    "linear": (0.352908730506897, 0.3131556510925293),
    "sparse": (-0.2119806557893753, -0.4193474054336548),
    "network": (-0.39387184381484985, 0.5794333219528198),
    "tree": (1.5993213653564453, 1.147530436515808),
}


@pytest.mark.parametrize("kind", RECORDED)
def test_the_textbook_s_batches_go_on_with_the_series_that_is_recorded(kind):
    config = Config(setup="gpt2", seed=3, function_class=kind)
    answers = [
        own.answers[5, 40] for own in (batch(config, 17), sampler.evaluation_prompts(config))
    ]
    assert [float(answer) for answer in answers] == pytest.approx(RECORDED[kind], rel=1e-5)


# Function classes.


def test_the_classes_are_those_of_the_configuration():
    assert list(sampler.FUNCTIONS) == list(FUNCTION_CLASSES)


@pytest.mark.parametrize("kind", FUNCTION_CLASSES)
@pytest.mark.parametrize("d", [1, 3])
def test_every_class_asks_about_the_same_points_and_is_scaled_alike(kind, d):
    """E y² = d, so that the zero predictor scores 1 on each; x is that of the linear class."""
    sizes = {"d": d, "n_examples": 9, "evaluation_prompts": 20_000}
    config = Config(**SMALL | sizes, function_class=kind)
    prompts = sampler.evaluation_prompts(config)
    assert prompts.tokens.dtype == prompts.answers.dtype == torch.float32
    assert float(prompts.answers.square().mean()) / d == pytest.approx(1, rel=0.05)
    plain = sampler.evaluation_prompts(config.model_copy(update={"function_class": "linear"}))
    assert torch.equal(prompts.tokens[:, 0::2], plain.tokens[:, 0::2])
    alike = kind == "linear" or (kind, d) == ("sparse", 1)
    assert torch.allclose(prompts.answers, plain.answers) == alike
    assert torch.equal(prompts.tokens[:, 1::2, 0], prompts.answers[:, :-1])


def test_a_sparse_function_is_linear_in_two_coordinates():
    config = Config(**SMALL | {"d": 5, "n_examples": 9}, function_class="sparse")
    used = []
    for x, y in zip(*points(batch(config, 0))):
        w = np.linalg.lstsq(x, y)[0]
        np.testing.assert_allclose(x @ w, y, atol=1e-4)
        used.append(tuple(np.flatnonzero(np.abs(w) > 1e-4)))
    assert {len(coordinates) for coordinates in used} == {2} and len(set(used)) > 3


def test_a_network_is_homogeneous_and_bent():
    """f(2 x) = 2 f(x), as for linear functions, but f(x) + f(-x) is not 0."""
    x = np.random.default_rng(0).standard_normal((50, 3, 4)).astype(np.float32)
    at = {
        scale: sampler.network(np.random.default_rng(1), (scale * x).astype(np.float32), x[:, 0])
        for scale in (1, 2, -1)
    }
    np.testing.assert_allclose(at[2], 2 * at[1], rtol=1e-4, atol=1e-4)
    assert np.abs(at[1] + at[-1]).mean() > 0.5


def test_a_tree_looks_at_signs_alone_and_has_sixteen_leaves():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((20, 4000, 6)).astype(np.float32)
    values = sampler.tree(np.random.default_rng(1), x, x[:, 0])
    signs = sampler.tree(np.random.default_rng(1), np.sign(x), x[:, 0])
    np.testing.assert_array_equal(values, signs)
    leaves = [len(np.unique(own)) for own in values]
    assert max(leaves) <= 16 and np.mean(leaves) > 8
