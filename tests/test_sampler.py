"""Prompts are linear functions without their last answer, and a function of (seed, step) alone."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from icl_report import sampler
from icl_report.config import FUNCTION_CLASSES

SIZES = {
    "seed": st.integers(0, 2**32 - 1),
    "n_examples": st.integers(1, 12),
    "d": st.integers(1, 6),
}
STEPS = st.integers(0, 10_000_000)


def points(prompts):
    """x (B, n + 1, d) and y (B, n + 1), in float64."""
    return prompts.tokens[:, 0::2].double().numpy(), prompts.answers.double().numpy()


@given(step=STEPS, **{name: SIZES[name] for name in SIZES})
def test_tokens_are_x_and_y_in_turn_without_the_querys_answer(tiny, step, seed, n_examples, d):
    """2 n + 1 tokens; y_i in the first coordinate, zeros in the rest; y_q nowhere."""
    config = tiny(seed=seed, n_examples=n_examples, d=d)
    tokens, answers = sampler.batch(config, step)
    assert tokens.shape == (config.batch_size, 2 * n_examples + 1, d)
    assert answers.shape == (config.batch_size, n_examples + 1)
    assert tokens.dtype == answers.dtype == torch.float32
    assert torch.equal(tokens[:, 1::2, 0], answers[:, :-1])
    assert not tokens[:, 1::2, 1:].any()
    assert not (tokens == answers[:, -1, None, None]).any()


@given(st.integers(0, 2**32 - 1))
def test_another_answer_to_the_query_leaves_every_token_as_it_is(seed):
    """Stronger than comparing values: no function of y_q is in the prompt either."""
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((3, 5, 2)), rng.standard_normal((3, 5))
    other = y.copy()
    other[:, -1] += 1
    before, after = sampler.assemble(x, y), sampler.assemble(x, other)
    assert torch.equal(before.tokens, after.tokens)
    assert not torch.equal(before.answers[:, -1], after.answers[:, -1])
    other[:, -2] += 1  # the comparison can fail: the last example's answer is a token
    assert not torch.equal(before.tokens, sampler.assemble(x, other).tokens)


@given(step=STEPS, **{name: SIZES[name] for name in SIZES})
def test_every_prompt_is_one_linear_function(tiny, step, seed, n_examples, d):
    """With more points than dimensions, least squares leaves no residual: y is in x's span."""
    config = tiny(seed=seed, n_examples=n_examples + d, d=d)  # more points than unknowns
    for x, y in zip(*points(sampler.batch(config, step))):
        w, _, rank, _ = np.linalg.lstsq(x, y)
        assert rank == d
        np.testing.assert_allclose(x @ w, y, atol=1e-5)


@given(step=STEPS, **{name: SIZES[name] for name in SIZES})
def test_least_squares_on_the_examples_answers_the_query(tiny, step, seed, n_examples, d):
    """k ≥ d examples and no noise determine w; a query drawn from another w would not fit."""
    config = tiny(seed=seed, n_examples=2 * d + n_examples, d=d)  # well-conditioned
    for x, y in zip(*points(sampler.batch(config, step))):
        w = np.linalg.lstsq(x[:-1], y[:-1])[0]
        assert x[-1] @ w == pytest.approx(y[-1], abs=1e-4)


def test_x_and_w_are_standard_normal(tiny):
    """Kolmogorov-Smirnov against N(0, 1), variance and correlation of coordinates; E y² = d."""
    config = tiny(batch_size=4000, n_examples=7, d=3)
    x, y = points(sampler.batch(config, 0))
    w = np.stack([np.linalg.lstsq(*pair)[0] for pair in zip(x, y)])
    for values in (x.reshape(-1, 3), w):
        assert stats.kstest(values.ravel(), "norm").pvalue > 1e-3
        np.testing.assert_allclose(np.cov(values.T), np.eye(3), atol=0.08)
    np.testing.assert_allclose(np.corrcoef(x[:, 0].T, x[:, 1].T), np.eye(6), atol=0.08)
    assert (y**2).mean() == pytest.approx(3, rel=0.1)


def test_a_batch_depends_on_nothing_but_seed_and_step(tiny):
    """Any order of asking, any state of the global generators: what makes resuming exact."""
    config = tiny()
    forwards = {step: sampler.batch(config, step) for step in range(6)}
    torch.manual_seed(5)
    np.random.seed(5)
    for step in (4, 0, 5, 5, 1, 3, 2):
        for first, again in zip(forwards[step], sampler.batch(config, step)):
            assert torch.equal(first, again)


@pytest.mark.parametrize(
    "changes", [{"b": 5}, {"variants": ("SPE",)}, {"device": "cuda"}, {"lr": 1.0}, {"width": 32}]
)
def test_batches_and_evaluation_are_shared_by_what_is_compared(tiny, changes):
    """Same prompts for every b, variant and device: the differences between runs are paired."""
    config, other = tiny(), tiny().model_copy(update=changes)
    for ours, theirs in zip(sampler.batch(config, 3), sampler.batch(other, 3)):
        assert torch.equal(ours, theirs)
    evaluations = sampler.evaluation_prompts(config), sampler.evaluation_prompts(other)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(*evaluations))


def test_evaluation_prompts_are_the_same_for_every_seed(tiny):
    """The spread over seeds must be the training's, not the evaluation's."""
    one, other = (sampler.evaluation_prompts(tiny(seed=seed)) for seed in (0, 7))
    assert torch.equal(one.tokens, other.tokens) and torch.equal(one.answers, other.answers)


def test_no_prompt_comes_twice_in_training_or_evaluation(tiny):
    """Over seeds (those that equal a stream's number too) and steps, first prompts included."""
    same_size = {"curve_prompts": 8, "evaluation_prompts": 8}  # else equal streams would differ
    seen = [sampler.evaluation_prompts(tiny(**same_size)).tokens]
    seen += [sampler.batch(tiny(seed=s), step).tokens for s in range(5) for step in range(30)]
    prompts = [prompt.numpy().tobytes() for tokens in seen for prompt in tokens]
    assert len(prompts) == 8 + 5 * 30 * 8
    assert len(set(prompts)) == len(prompts)
    coordinates = torch.cat([tokens[:, 0, 0] for tokens in seen])
    assert len(coordinates.unique()) > 0.99 * len(coordinates)  # w differs, and so does x


@given(st.integers(0, 2**32 - 1), STEPS)
def test_streams_differ(seed, step):
    """No two purposes ever read the same random numbers."""
    names = (sampler.TRAINING, sampler.EVALUATION, sampler.WEIGHTS, sampler.BOOTSTRAP)
    names += (sampler.LENGTHS, sampler.HIDING)
    streams = [
        sampler.generator(stream, *seeds).integers(2**62)
        for stream in names
        for seeds in ((seed,), (seed, step + 1))
    ]
    assert len(set(streams)) == len(streams)


@pytest.mark.parametrize("kind", FUNCTION_CLASSES)
def test_every_class_asks_about_the_same_points_and_is_scaled_alike(tiny, kind):
    """E y² = d, so that the zero predictor scores 1 on each; x is that of the linear class."""
    config = tiny(function_class=kind, d=3, n_examples=9, evaluation_prompts=20_000)
    prompts = sampler.evaluation_prompts(config)
    assert prompts.tokens.dtype == prompts.answers.dtype == torch.float32
    assert float(prompts.answers.square().mean()) / 3 == pytest.approx(1, rel=0.05)
    plain = sampler.evaluation_prompts(config.model_copy(update={"function_class": "linear"}))
    assert torch.equal(prompts.tokens[:, 0::2], plain.tokens[:, 0::2])
    assert torch.equal(prompts.answers, plain.answers) == (kind == "linear")
    assert torch.equal(prompts.tokens[:, 1::2, 0], prompts.answers[:, :-1])


def test_a_sparse_function_is_linear_in_two_coordinates(tiny):
    config = tiny(function_class="sparse", d=5, n_examples=9)
    used = []
    for x, y in zip(*points(sampler.batch(config, 0))):
        w = np.linalg.lstsq(x, y)[0]
        np.testing.assert_allclose(x @ w, y, atol=1e-4)
        used.append(tuple(np.flatnonzero(np.abs(w) > 1e-4)))
    assert {len(coordinates) for coordinates in used} == {2} and len(set(used)) > 3


def test_a_network_is_homogeneous_and_bent(tiny):
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
