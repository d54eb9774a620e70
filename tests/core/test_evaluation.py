"""The target task's error: nothing leaks; and what a model does inside is what it is said to do."""

import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from icl_core import evaluation, records, sampler
from icl_core.config import Config
from icl_core.encodings import VARIANTS
from icl_core.model import ALL, QUERY, X_TOKENS
from icl_core.sampler import Prompts

SMALL = {"setup": "smoke", "n_examples": 5, "width": 16, "evaluation_prompts": 32}
KS = range(6)
each_variant = pytest.mark.parametrize("variant", VARIANTS)


def small(**changes):
    return Config(**SMALL | changes)


def answers_zero(model):
    """The model, made to predict 0 whatever it is asked."""
    with torch.no_grad():
        model.read_out.weight.zero_()
        model.read_out.bias.zero_()
    return model


def cut_errors(model, prompts, loops=None, ks=KS):
    """The target errors of each k by itself, which are never taken from one pass."""
    own = [evaluation.target_errors(model, prompts, [k], loops) for k in ks]
    return np.concatenate(own, axis=1)


# Errors.


@pytest.mark.parametrize("chunk", [7, 64])
@pytest.mark.parametrize("variant", ["LPE", "CM"])
def test_an_error_is_the_squared_difference_over_d(perturbed, monkeypatch, variant, chunk):
    """By hand, iteration by iteration, in the order of prompts, however many go in one pass."""
    monkeypatch.setattr(evaluation, "CHUNK", chunk)
    config = small(variant=variant, b=2, d=3)
    model, (tokens, answers) = perturbed(config), sampler.evaluation_prompts(config)
    errors = evaluation.target_errors(model, Prompts(tokens, answers), [2, 5])
    assert errors.shape == (2, 2, 32) and errors.dtype == np.float64
    with torch.no_grad():
        for i, k in enumerate([2, 5]):
            predictions = model(tokens[:, : 2 * k + 1], QUERY)[..., 0]
            expected = (predictions - answers[:, k]) ** 2 / 3
            np.testing.assert_allclose(errors[:, i], expected, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("variant", [name for name, (_, mask) in VARIANTS.items() if mask == "CM"])
@pytest.mark.parametrize("loops", [None, 1, 3])
def test_under_the_causal_mask_one_pass_equals_cut_prompts_and_is_taken(perturbed, variant, loops):
    config = small(variant=variant, b=2)
    model, prompts = perturbed(config), sampler.evaluation_prompts(config)
    cut, passes = cut_errors(model, prompts, loops), []
    model.register_forward_pre_hook(lambda _, inputs: passes.append(inputs[0].shape[1]))
    one_pass = evaluation.target_errors(model, prompts, KS, loops)
    assert passes == [11] and one_pass.shape == (loops or 2, 6, 32)
    np.testing.assert_allclose(one_pass, cut, rtol=1e-3, atol=1e-5)
    some = evaluation.target_errors(model, prompts, [4, 1], loops)
    np.testing.assert_allclose(some, cut[:, [4, 1]], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("variant", [name for name, (_, mask) in VARIANTS.items() if mask != "CM"])
def test_under_any_other_mask_one_pass_would_leak_and_is_not_taken(perturbed, variant):
    """The reason for cutting: a later token does change an earlier prediction."""
    config = small(variant=variant)
    model, (tokens, answers) = perturbed(config), sampler.evaluation_prompts(config)
    taken = evaluation.target_errors(model, Prompts(tokens, answers), KS)
    np.testing.assert_array_equal(taken, cut_errors(model, Prompts(tokens, answers)))
    one_pass = ((model(tokens) - answers) ** 2 / config.d).detach().mT.numpy()
    assert (np.abs(one_pass - taken).max(axis=-1)[:, :-1] > 1e-3).all()
    np.testing.assert_allclose(one_pass[:, -1], taken[:, -1], rtol=1e-3, atol=1e-5)


@each_variant
def test_later_tokens_and_answers_cannot_reach_a_cut_prompt(perturbed, variant):
    """Poisoned with nan, which any path whatever would carry to the error."""
    config = small(variant=variant)
    model, prompts = perturbed(config), sampler.evaluation_prompts(config)
    clean = cut_errors(model, prompts)
    assert np.isfinite(clean).all()
    for k in range(5):
        tokens, answers = prompts.tokens.clone(), prompts.answers.clone()
        tokens[:, 2 * k + 1 :] = math.nan  # y_{k+1}, the answer asked for, and all that follows
        answers[:, k + 1 :] = math.nan
        poisoned = Prompts(tokens, answers)
        errors = cut_errors(model, poisoned, ks=range(k + 1))
        np.testing.assert_array_equal(errors, clean[:, : k + 1])


def test_what_is_hidden_is_hidden_from_the_error_too(perturbed):
    """A change of the scores goes to the model, in either way of passing."""
    config = small(variant="SPE + CM", b=2)
    model, prompts = perturbed(config), sampler.evaluation_prompts(config)
    change = evaluation.pair_hidden(config)
    expected = (model(prompts.tokens, ALL, change=change)[..., ::2] - prompts.answers) ** 2 / 2
    expected = expected.detach().mT
    whole = evaluation.target_errors(model, prompts, KS, change=change)
    last = evaluation.target_errors(model, prompts, [5], change=change)
    np.testing.assert_allclose(whole, expected, rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(last[:, 0], expected[:, 5], rtol=1e-3, atol=1e-6)
    assert np.abs(whole - evaluation.target_errors(model, prompts, KS)).max() > 1e-3


@pytest.mark.parametrize("variant", ["SPE", "CM"])
def test_single_numbers_are_means_of_the_errors(perturbed, variant):
    """The last iteration's at the query; and, as the source has it, the mean iteration's."""
    config = small(variant=variant, b=3)
    model, prompts = perturbed(config), sampler.evaluation_prompts(config)
    errors = evaluation.target_errors(model, prompts, [5])
    assert evaluation.query_error(model, prompts) == pytest.approx(errors[-1].mean())
    assert evaluation.mean_iteration_error(model, prompts) == pytest.approx(errors.mean())
    assert errors.mean() != pytest.approx(errors[-1].mean(), rel=1e-3)


@pytest.mark.parametrize("d", [2, 5])
def test_the_zero_predictor_is_what_a_silent_model_scores(perturbed, d):
    """E y² = d, so that it is about 1."""
    config = small(d=d, evaluation_prompts=2000)
    model, prompts = answers_zero(perturbed(config)), sampler.evaluation_prompts(config)
    zero = float(prompts.answers[:, -1].square().mean()) / d
    assert evaluation.query_error(model, prompts) == pytest.approx(zero, rel=1e-5)
    assert zero == pytest.approx(1, abs=0.12)


# Rows of the tables that are recorded.


def rows_of(name, rows):
    return pd.DataFrame(rows, columns=records.COLUMNS[name])


@pytest.mark.parametrize("variant", ["SPE", "LPE + CM"])
@pytest.mark.parametrize("b", [1, 3])
def test_the_errors_have_a_row_for_every_k_and_every_iteration(perturbed, variant, b):
    """Earlier iterations at k = n; means and intervals of the right prompts, in the right rows."""
    config = small(variant=variant, b=b)
    model, prompts = perturbed(config), sampler.evaluation_prompts(config)
    table = rows_of("errors.csv", evaluation.error_rows(model, prompts))
    keys = [(t, 5) for t in range(1, b)] + [(b, k) for k in KS]
    assert list(table[["loops", "k"]].itertuples(index=False, name=None)) == keys
    errors = evaluation.target_errors(model, prompts, KS)
    expected = [errors[loops - 1, k].mean() for loops, k in keys]
    np.testing.assert_allclose(table.error, expected)
    assert (table.low < table.error).all() and (table.error < table.high).all()
    again = rows_of("errors.csv", evaluation.error_rows(model, prompts))
    assert again.equals(table)  # the bootstrap is seeded


def test_the_intervals_are_bootstrap_s_over_prompts(perturbed, monkeypatch):
    """Of 95 %: about as wide as the standard error says, and covering as often as they say."""
    rng = np.random.default_rng(0)
    samples = 1 + rng.standard_normal((1, 300, 200))  # 300 "k" of mean 1
    monkeypatch.setattr(evaluation, "target_errors", lambda *_: samples)
    model = SimpleNamespace(config=SimpleNamespace(n_examples=299))
    table = rows_of("errors.csv", evaluation.error_rows(model, None))
    width = (table.high - table.low) / (2 * 1.96 * samples[0].std(axis=-1) / 200**0.5)
    assert width.mean() == pytest.approx(1, abs=0.06)
    assert 0.90 <= ((table.low < 1) & (table.high > 1)).mean() <= 0.98
    one = stats.bootstrap((samples[0, 7],), np.mean, rng=1, n_resamples=1000).confidence_interval
    assert (table.low[7], table.high[7]) == pytest.approx((one.low, one.high), abs=0.03)


def test_the_source_s_tests_have_a_row_each(perturbed, few_prompts):
    """At x's own standard deviation, mean over iterations, not divided by its variance."""
    config = small(variant="SPE + CM", b=2, seed=451)
    model = perturbed(config)
    table = rows_of("tests.csv", evaluation.test_rows(model))
    assert list(table.launch) == [*range(1, 11)]
    for row, (std, prompts) in zip(table.itertuples(), sampler.source_tests(config), strict=True):
        with torch.no_grad():
            errors = (model(prompts.tokens)[..., -1] - prompts.answers[:, -1]) ** 2 / 2
        assert (row.std, row.error) == (std, pytest.approx(float(errors.mean()), rel=1e-4))


# Inside.


@torch.no_grad()
@pytest.mark.parametrize("setup", ["smoke", "smoke+attention-in-residual+final-norm"])
@each_variant
def test_attention_maps_are_what_the_model_mixes_by(perturbed, variant, setup):
    """Each row sums to one, hidden tokens get nothing; the output is rebuilt from the last map."""
    config = small(setup=setup, variant=variant, b=2)
    model, tokens = perturbed(config), sampler.evaluation_prompts(config).tokens[:3]
    maps = evaluation.attention_maps(model, tokens)
    assert maps.shape == (2, 2, 3, 2, 11, 11)
    torch.testing.assert_close(maps.sum(-1), torch.ones(maps.shape[:-1]))
    upper = {"CM": torch.ones(11, 11).triu(1) > 0, "": torch.zeros(11, 11) > 0}
    hidden = upper.get(config.mask, upper[""].clone())
    if config.mask == "PM":
        hidden[:-1, -1] = True
    assert (maps[..., hidden] == 0).all() and (maps[..., ~hidden] > 0).all()
    # The same model, its softmax replaced by the maps.
    predictions = model(tokens, ALL)
    embedded = model.read_in(tokens)
    injected, z = model.encoding(embedded), 0
    for t in range(2):
        z = z + injected
        for layer, block in enumerate(model.blocks):
            v = block.attention.qkv(block.norm_1(z)).chunk(3, dim=-1)[2].unflatten(-1, (2, -1))
            mixed = torch.einsum("bhij,bjhc->bihc", maps[t, layer], v).flatten(-2)
            attended = z + block.attention.out(mixed)
            mlp = block.mlp_out(torch.nn.functional.gelu(block.mlp_in(block.norm_2(attended))))
            z = (attended if config.attention_in_residual else z) + mlp
        z = model.norm(z)
        rebuilt = model.read_out(z)[..., 0]
        torch.testing.assert_close(rebuilt, predictions[t], rtol=1e-3, atol=1e-4)


def test_looking_inside_leaves_the_model_as_it_was(perturbed):
    model = perturbed(small())
    evaluation.attention_maps(model, torch.randn(1, 11, 2))
    assert not any(block._forward_pre_hooks for block in model.blocks)
    with pytest.raises(IndexError):  # nor where it fails
        evaluation.attention_maps(
            perturbed_lpe := perturbed(small(variant="LPE")), torch.randn(1, 13, 2)
        )
    assert not any(block._forward_pre_hooks for block in perturbed_lpe.blocks)


def test_hiding_hides_these_pairs_of_tokens_in_these_layers():
    config = small()
    change = evaluation.hiding(config, [1, 3], [0, 2], [1])
    assert change.shape == (1, 2, 1, 11, 11)
    hidden = {tuple(place) for place in change.isinf().nonzero().tolist()}
    assert hidden == {(0, 1, 0, 1, 0), (0, 1, 0, 3, 2)}
    assert change[change.isinf()].max() == -math.inf and change[~change.isinf()].abs().max() == 0
    everywhere = evaluation.hiding(config, [1], [0])
    assert everywhere.isinf().nonzero()[:, 1].tolist() == [0, 1]


@pytest.mark.parametrize(("layers", "expected"), [([0], [0]), ([1], [1]), ([], [0, 1])])
def test_the_pair_that_is_hidden_is_each_answer_and_its_own_coordinates(layers, expected):
    """y_i → x_i, for every example; the query has no answer to look at it."""
    change = evaluation.pair_hidden(small(), layers)
    for layer in range(2):
        hidden = [tuple(place) for place in change[0, layer, 0].isinf().nonzero().tolist()]
        assert hidden == ([(2 * i + 1, 2 * i) for i in range(5)] if layer in expected else [])


@torch.no_grad()
def test_a_hidden_pair_has_no_weight_and_the_rest_shares_it(perturbed):
    """In the layer that is said, in the model itself."""
    config = small(variant="SPE", b=2)
    model, tokens = perturbed(config), torch.randn(3, 11, 2)
    change, maps = evaluation.pair_hidden(config, [1]), []

    def keep(block, inputs):
        x, bias, rotation, _ = inputs
        maps.append(block.attention.weights(block.norm_1(x), bias, rotation))

    for block in model.blocks:
        block.register_forward_pre_hook(keep)
    model(tokens, ALL, change=change)
    for own, hidden in zip(maps, (False, True, False, True), strict=True):
        pairs = own[..., 1::2, :-1:2].diagonal(dim1=-2, dim2=-1)
        assert bool((pairs == 0).all()) == hidden == bool((pairs == 0).any())
        torch.testing.assert_close(own.sum(-1), torch.ones(own.shape[:-1]))


class Fake:
    """A model that answers by a rule, with what evaluation asks of one."""

    def __init__(self, config, rule):
        self.config, self.rule = config, rule

    def __call__(self, tokens, rows=X_TOKENS, loops=None, change=None):
        return torch.stack(
            [torch.zeros(len(tokens), self.config.n_examples + 1), self.rule(tokens)]
        )


def copies(tokens):
    """What stands behind each x-token, and 0 for the query."""
    return torch.cat([tokens[:, 1::2, 0], torch.zeros(len(tokens), 1)], dim=1)


@pytest.mark.parametrize("chunk", [7, 64])
def test_who_copies_predicts_a_planted_answer_and_who_knows_the_function_does_not(
    monkeypatch, chunk
):
    """0; and 2, the distance of two answers that have nothing to do with each other."""
    monkeypatch.setattr(evaluation, "CHUNK", chunk)
    config = small(b=2, d=4, evaluation_prompts=4000)
    prompts = sampler.evaluation_prompts(config)
    assert evaluation.planted_error(Fake(config, copies), prompts) == 0
    knows = iter(prompts.answers.split(chunk))
    error = evaluation.planted_error(Fake(config, lambda tokens: next(knows)), prompts)
    own, other = prompts.answers[:, 2], prompts.answers[:, 2].roll(1)
    assert error == pytest.approx(float((own - other).square().mean()) / 4, rel=1e-5)
    assert error == pytest.approx(2, abs=0.2)
    silent = evaluation.planted_error(Fake(config, lambda t: 0 * copies(t)), prompts)
    assert silent == pytest.approx(float(other.square().mean()) / 4, rel=1e-5)


def test_an_answer_is_planted_in_the_middle_example_alone():
    """In the first coordinate; the prompts themselves stay as they are."""
    config, seen = small(d=3), []
    prompts = sampler.evaluation_prompts(config)
    before = prompts.tokens.clone()
    evaluation.planted_error(Fake(config, lambda t: seen.append(t.clone()) or copies(t)), prompts)
    changed = (torch.cat(seen) != before).nonzero()
    assert changed[:, 1:].unique(dim=0).tolist() == [[5, 0]]
    assert len(changed) == 32 and torch.equal(prompts.tokens, before)
    assert torch.equal(torch.cat(seen)[1:, 5, 0], before[:-1, 5, 0])


@pytest.mark.parametrize("variant", ["SPE", "LPE + CM"])
def test_a_probe_tells_errors_hidden_pairs_planted_answers_and_weights(perturbed, variant):
    """On the first 256 prompts; the weights on the first 32, means over examples and prompts."""
    config = small(variant=variant, b=2, evaluation_prompts=300)
    model, prompts = perturbed(config), sampler.evaluation_prompts(config)
    (error, first, all_layers, planted), rows = evaluation.probe(model, prompts)
    few = prompts.first(256)
    for told, layers in ((first, [0]), (all_layers, [0, 1])):
        hidden = evaluation.pair_hidden(config, layers)
        assert told == pytest.approx(evaluation.query_error(model, few, hidden), rel=1e-6)
    assert error == pytest.approx(evaluation.query_error(model, few), rel=1e-6)
    assert planted == pytest.approx(evaluation.planted_error(model, few), rel=1e-6)
    assert len({error, first, all_layers}) == 3
    maps = evaluation.attention_maps(model, prompts.tokens[:32])
    assert [row[:3] for row in rows] == [
        (t, layer, head) for t in (1, 2) for layer in (1, 2) for head in (1, 2)
    ]
    for t, layer, head, y_to_x, x_to_y in rows:
        own = maps[t - 1, layer - 1, :, head - 1]
        for told, at in (
            (y_to_x, lambda i: (2 * i + 1, 2 * i)),
            (x_to_y, lambda i: (2 * i, 2 * i + 1)),
        ):
            expected = sum(own[:, at(i)[0], at(i)[1]].mean() for i in range(5)) / 5
            assert told == pytest.approx(float(expected), rel=1e-5)
    assert all((row[4] == 0) == (config.mask == "CM") for row in rows)


def test_uniform_attention_gives_each_token_its_part(perturbed):
    """1 / (2 n + 1), what the weights of probes are compared with."""
    config = small()
    model = perturbed(config)
    for block in model.blocks:
        torch.nn.init.zeros_(block.attention.qkv.weight[: config.width])
        torch.nn.init.zeros_(block.attention.qkv.bias[: config.width])
    _, rows = evaluation.probe(model, sampler.evaluation_prompts(config))
    assert [row[3:] for row in rows] == [(pytest.approx(1 / 11), pytest.approx(1 / 11))] * 4


# Reference solvers.


def whole(d, **changes):
    return sampler.evaluation_prompts(Config(setup="gpt2", d=d, n_examples=9, **changes))


@pytest.mark.parametrize("k", [0, 1, 4])
@pytest.mark.parametrize("rates", [[], [0.7], [1.2, 0.3]])
def test_gradient_steps_are_those_written_out(k, rates):
    """Example by example, from w = 0."""
    prompts = whole(3, curve_prompts=8, evaluation_prompts=8)
    predictions = evaluation.gradient_steps(prompts, k, rates)
    assert predictions.shape == (8,)
    for tokens, prediction in zip(prompts.tokens.double().numpy(), predictions):
        w = np.zeros(3)
        for rate in rates:
            moves = [(tokens[2 * i + 1, 0] - w @ tokens[2 * i]) * tokens[2 * i] for i in range(k)]
            w = w + rate * sum(moves, np.zeros(3)) / max(k, 1)
        assert float(prediction) == pytest.approx(w @ tokens[2 * k], abs=1e-9)


def test_a_solver_sees_neither_the_answer_nor_what_follows():
    prompts = whole(2, curve_prompts=8, evaluation_prompts=8)
    poisoned = Prompts(prompts.tokens.clone(), torch.full_like(prompts.answers, math.nan))
    poisoned.tokens[:, 9:] = math.nan  # y_5 and all that follows
    clean = evaluation.gradient_steps(prompts, 4, [1, 1])
    assert torch.equal(evaluation.gradient_steps(poisoned, 4, [1, 1]), clean)


def test_the_best_rates_are_the_best():
    """One step's in closed form; of two no neighbour is better; by theory, a step leaves .087."""
    prompts = sampler.evaluation_prompts(Config(setup="gpt2", evaluation_prompts=5000))
    answers = prompts.answers[:, 63]

    def error(rates):
        squared = (evaluation.gradient_steps(prompts, 63, rates) - answers).square()
        return float(squared.mean()) / 5

    (rate,), two = (evaluation.best_rates(prompts, 63, steps) for steps in (1, 2))
    step = evaluation.gradient_steps(prompts, 63, [1])
    assert rate == pytest.approx(float((step * answers).sum() / step.square().sum()), abs=1e-3)
    assert error([rate]) == pytest.approx(
        1 - 1 / (1 + 6 / 63), rel=0.1
    )  # E S² = (1 + (d + 1) / n) I
    assert error(two) < 0.3 * error([rate])
    for move in ([0.02, 0], [-0.02, 0], [0, 0.02], [0, -0.02], [0.02, -0.02], [-0.02, 0.02]):
        assert error(two) < error(two + move)
