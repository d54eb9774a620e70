"""The target task's error: nothing leaks, the solvers are right, the intervals mean something."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.neighbors import KNeighborsRegressor

from icl_report import evaluation, sampler
from icl_report.config import ABLATIONS, VARIANTS
from icl_report.model import QUERY

SIX = ABLATIONS["1_position_and_mask"]
CAUSAL = tuple(name for name in SIX if name.endswith("CM"))
UNMASKED = tuple(name for name in SIX if not name.endswith("CM"))
PREFIX = ("PM", "LPE + PM", "RoPE + PM")
KS = range(6)


def named(names):
    """The variants of these names, of whichever ablation."""
    return tuple(VARIANTS[name] for name in names)


@pytest.mark.parametrize("loops", [1, 3])
def test_one_pass_equals_cut_prompts_under_the_mask(tiny, perturbed, loops):
    """The shortcut for causal variants is one, at every k; and it is the one that is taken."""
    config = tiny(variants=CAUSAL)
    model, prompts = perturbed(config), sampler.evaluation_prompts(config)
    one_pass = evaluation.target_errors(model, prompts, KS, loops, one_pass=True)
    cut = evaluation.target_errors(model, prompts, KS, loops, one_pass=False)
    assert one_pass.shape == (3, 6, 32)
    np.testing.assert_allclose(one_pass, cut, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(one_pass, evaluation.target_errors(model, prompts, KS, loops))
    some = evaluation.target_errors(model, prompts, [4, 1], loops)
    np.testing.assert_allclose(some, cut[:, [4, 1]], rtol=1e-4, atol=1e-5)


ALONE = (*SIX, *PREFIX, "TPE", "pair + TPE + CM", "RoPE + CM", "ALiBi")


@pytest.mark.parametrize("names", [*((name,) for name in ALONE), ("CM", "SPE", "PM")], ids=str)
def test_later_tokens_and_answers_cannot_reach_a_cut_prompt(tiny, perturbed, names):
    """Poisoned with nan, which any path whatever would carry to the error."""
    model, prompts = perturbed(tiny(), named(names)), sampler.evaluation_prompts(tiny())
    causal = all(name.endswith("CM") for name in names)
    one_pass = False if causal else None  # the mask's zeros times nan are nan
    clean = evaluation.target_errors(model, prompts, KS, one_pass=one_pass)
    assert np.isfinite(clean).all()
    for k in range(5):
        tokens, answers = prompts.tokens.clone(), prompts.answers.clone()
        tokens[:, 2 * k + 1 :] = math.nan  # y_{k+1}, the answer asked for, and all that follows
        answers[:, k + 1 :] = math.nan
        poisoned = sampler.Prompts(tokens, answers)
        errors = evaluation.target_errors(model, poisoned, range(k + 1), one_pass=one_pass)
        np.testing.assert_array_equal(errors, clean[:, : k + 1])


MAPPED = [SIX, ("SPE",), ("RoPE",), ("ALiBi + PM",), ("RoPE + CM", "ALiBi", "PM", "pair + TPE")]


@pytest.mark.parametrize("names", MAPPED, ids=str)
def test_attention_maps_are_what_the_model_mixes_by(tiny, perturbed, names):
    """Each row sums to one, and the first block's output is rebuilt from its map."""
    config = tiny(b=2)
    model, tokens = perturbed(config, named(names)), sampler.evaluation_prompts(config).tokens[:3]
    maps = evaluation.attention_maps(model, tokens)
    assert maps.shape == (2, config.n_layers, len(names), 3, config.n_heads, 11, 11)
    torch.testing.assert_close(maps.sum(-1), torch.ones(maps.shape[:-1]))
    seen, attention = [], model.blocks[0].attention
    attention.register_forward_hook(lambda _, inputs, output: seen.append((inputs[0], output)))
    model(tokens)
    z, output = (part[:, :, :11] for part in seen[0])
    v = attention.key_value(z).chunk(2, dim=-1)[1].unflatten(-1, (config.n_heads, -1))
    mixed = torch.einsum("vbhij,vbjhc->vbihc", maps[0, 0], v).flatten(-2)
    torch.testing.assert_close(attention.out(mixed), output)


def test_the_leak_is_the_weight_from_each_x_to_its_own_y(tiny, perturbed):
    config = tiny(variants=("SPE", "CM", "none"))
    model, prompts = perturbed(config), sampler.evaluation_prompts(config).first(4)
    leak = evaluation.leak(model, prompts)
    maps = evaluation.attention_maps(model, prompts.tokens)
    assert leak.shape == (3, 1, config.n_layers, config.n_heads)
    by_hand = sum(maps[0, 1, 2, :, 0, 2 * i, 2 * i + 1].mean() for i in range(5)) / 5
    torch.testing.assert_close(leak[2, 0, 1, 0], by_hand)
    assert (leak[1] == 0).all() and (leak[0] > 0).all()


def test_uniform_attention_leaks_one_part_in_the_number_of_tokens(tiny, perturbed):
    config = tiny(variants=("none",))
    model = perturbed(config, scale=0.0)
    for block in model.blocks:
        torch.nn.init.zeros_(block.attention.query.weight)
    leak = evaluation.leak(model, sampler.evaluation_prompts(config))
    torch.testing.assert_close(leak, torch.full_like(leak, 1 / 11))


@pytest.mark.parametrize("names", [UNMASKED, PREFIX, ("CM", "PM"), ("ALiBi", "TPE")], ids=str)
def test_without_a_causal_mask_one_pass_would_leak(tiny, perturbed, names):
    """The reason for cutting: a later token does change an earlier prediction."""
    model, prompts = perturbed(tiny(), named(names)), sampler.evaluation_prompts(tiny())
    whole = evaluation.target_errors(model, prompts, KS, one_pass=True)
    cut = evaluation.target_errors(model, prompts, KS)
    difference = np.abs(whole - cut).max(axis=-1)
    causal = [name.endswith("CM") for name in names]
    assert (difference[np.logical_not(causal), :-1] > 1e-3).all()
    assert (difference[causal] < 1e-4).all()
    np.testing.assert_allclose(whole[:, -1], cut[:, -1], rtol=1e-4, atol=1e-5)


def test_the_querys_share_is_its_part_of_the_squared_error(tiny, perturbed):
    """By hand, of the last iteration; a model that answers zero finds all x-tokens alike."""
    config = tiny(b=2, evaluation_prompts=500)
    model, prompts = perturbed(config, named(("CM", "RoPE"))), sampler.evaluation_prompts(config)
    share = evaluation.query_share(model, prompts)
    with torch.no_grad():
        squared = (model(prompts.tokens)[-1] - prompts.answers).double() ** 2
        for v in range(2):
            by_token = [float(squared[v, :, i].mean()) for i in range(6)]
            assert share[v] == pytest.approx(by_token[-1] / sum(by_token), rel=1e-4)
        model.read_out.weight.zero_()
        model.read_out.bias.zero_()
    assert evaluation.query_share(model, prompts) == pytest.approx([1 / 6, 1 / 6], abs=0.03)


@pytest.mark.parametrize("chunk", [7, 64])
def test_an_error_is_the_squared_difference_over_d(tiny, perturbed, monkeypatch, chunk):
    """By hand, prompt for prompt, in the order of prompts, however many go in one pass."""
    monkeypatch.setattr(evaluation, "CHUNK", chunk)
    config = tiny(b=2, d=3, variants=("LPE", "CM"))
    model, (tokens, answers) = perturbed(config), sampler.evaluation_prompts(config)
    errors = evaluation.target_errors(model, sampler.Prompts(tokens, answers), [2, 5])
    with torch.no_grad():
        for v in range(2):
            for i, k in enumerate([2, 5]):
                predictions = model(tokens[:, : 2 * k + 1], QUERY)[-1, v, :, 0]
                expected = [
                    (float(p) - float(a)) ** 2 / 3 for p, a in zip(predictions, answers[:, k])
                ]
                np.testing.assert_allclose(errors[v, i], expected, rtol=1e-3, atol=1e-6)


def test_errors_table_has_a_row_a_variant_and_k_in_order(tiny, perturbed):
    """Means and intervals of the right prompts, in the right rows."""
    config = tiny(b=2, variants=("SPE", "CM", "LPE"))
    model, prompts = perturbed(config), sampler.evaluation_prompts(config)
    ks = range(config.n_examples + 1)
    table = evaluation.errors_table(model, prompts, ks, 2)
    assert list(table.columns) == ["variant", "loops", "k", "error", "low", "high"]
    expected = [(name, 2, k) for name in config.variants for k in (0, 1, 2, 3, 4, 5)]
    assert list(table[["variant", "loops", "k"]].itertuples(index=False, name=None)) == expected
    errors = evaluation.target_errors(model, prompts, ks, 2)
    np.testing.assert_allclose(table.error, errors.mean(axis=-1).ravel())
    assert (table.low < table.error).all() and (table.error < table.high).all()
    other = evaluation.errors_table(model, prompts, ks, 1)
    assert (other.loops == 1).all() and not np.allclose(other.error, table.error)


@pytest.mark.parametrize("n", [2, 3, 6, 20])
def test_interval_over_seeds_is_students(n):
    """Against scipy's one-sample t test."""
    values = np.random.default_rng(n).normal(3, 2, n)
    interval = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    expected = (values.mean(), interval.low, interval.high)
    assert evaluation.interval_over_seeds(values) == pytest.approx(expected)
    assert evaluation.interval_over_seeds(list(values)) == pytest.approx(expected)


def test_one_run_has_a_mean_but_no_interval():
    """A width of zero would claim certainty."""
    mean, *interval = evaluation.interval_over_seeds([2.5])
    assert mean == 2.5 and np.isnan(interval).all()
    assert np.isnan(evaluation.interval_over_seeds([])).all()


def test_zero_error_is_that_of_the_solver(tiny):
    """On the same prompts, to float32's digits."""
    config = tiny()
    prompts = sampler.evaluation_prompts(config)
    solvers = evaluation.reference_errors(prompts, [config.n_examples])
    expected = solvers[solvers.solver == "zero"].error.item()
    assert evaluation.zero_error(prompts) == pytest.approx(expected, rel=1e-5)


def test_bootstrap_covers_the_mean_about_as_often_as_it_says():
    """400 samples of a skewed distribution, like squared errors, of mean 1."""
    samples = np.random.default_rng(1).chisquare(1, (400, 300))
    low, high = evaluation.bootstrap_mean(samples)
    assert 0.90 <= ((low < 1) & (high > 1)).mean() <= 0.98
    assert ((low < samples.mean(-1)) & (samples.mean(-1) < high)).all()


def test_bootstrap_is_as_wide_as_the_standard_error_says():
    """± 1.96 s / √n at every n: it shrinks as it should."""
    for n in (50, 200, 1280):
        samples = np.random.default_rng(n).normal(0, 2, (20, n))
        low, high = evaluation.bootstrap_mean(samples)
        expected = 2 * 1.96 * samples.std(axis=-1) / n**0.5
        assert ((high - low) / expected).mean() == pytest.approx(1, abs=0.06)


def test_bootstrap_is_the_same_every_time_and_keeps_shapes_and_pairs():
    """Seeded, (…, B) -> (…), and every row is resampled alike."""
    samples = np.random.default_rng(0).normal(0, 1, (2, 3, 40))
    (low, high), again = evaluation.bootstrap_mean(samples), evaluation.bootstrap_mean(samples)
    np.testing.assert_array_equal((low, high), again)
    assert low.shape == high.shape == (2, 3)
    np.testing.assert_allclose(evaluation.bootstrap_mean(samples[1, 2])[0], low[1, 2])
    np.testing.assert_allclose(evaluation.bootstrap_mean(samples + 5)[0], low + 5)


def test_the_bootstrap_of_a_ratio_is_paired():
    """Errors that differ by a factor on every prompt have that ratio, with no doubt about it."""
    errors = np.random.default_rng(0).chisquare(1, 200)
    assert evaluation.bootstrap_ratio(3 * errors, errors) == pytest.approx((3, 3, 3))
    others = 2 * errors * np.random.default_rng(1).uniform(0.5, 1.5, 200)
    value, low, high = evaluation.bootstrap_ratio(errors, others)
    assert value == pytest.approx(errors.mean() / others.mean()) and low < value < high
    unpaired = evaluation.bootstrap_ratio(errors, others[::-1])
    assert high - low < 0.6 * (unpaired[2] - unpaired[1])


def test_the_bootstrap_of_a_ratio_covers_it_about_as_often_as_it_says():
    """300 pairs of dependent samples whose true ratio is 0.5."""
    rng = np.random.default_rng(2)
    common = rng.chisquare(1, (300, 300))
    errors, others = common * rng.uniform(0, 1, (300, 300)), common * rng.uniform(0, 2, (300, 300))
    _, low, high = evaluation.bootstrap_ratio(errors, others)
    assert 0.90 <= ((low < 0.5) & (high > 0.5)).mean() <= 0.98


def test_a_diverged_variant_leaves_the_others_intervals_alone():
    """nan where the error is nan, numbers elsewhere."""
    samples = np.random.default_rng(0).normal(0, 1, (3, 40))
    expected = evaluation.bootstrap_mean(samples)
    samples[1] = math.nan
    for bound, clean in zip(evaluation.bootstrap_mean(samples), expected):
        assert np.isnan(bound[1])
        np.testing.assert_array_equal(bound[[0, 2]], clean[[0, 2]])


SCIKIT = {
    "least squares": lambda k: LinearRegression(fit_intercept=False),
    "ridge": lambda k: Ridge(alpha=0.1, fit_intercept=False, solver="cholesky"),
    "3 nearest neighbours": lambda k: KNeighborsRegressor(min(3, k)),
}


@pytest.mark.parametrize("name", SCIKIT)
@pytest.mark.parametrize("k", [1, 2, 3, 5, 12])
def test_reference_solvers_agree_with_scikit_learn(name, k):
    """Below and above k = d, on answers with noise, prompt for prompt."""
    rng = np.random.default_rng(k)
    x, y, query = rng.normal(size=(6, k, 4)), rng.normal(size=(6, k)), rng.normal(size=(6, 4))
    answers = evaluation.REFERENCE_SOLVERS[name](x, y, query)
    for i in range(6):
        expected = SCIKIT[name](k).fit(x[i], y[i]).predict(query[i : i + 1])[0]
        assert answers[i] == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_sums_solves_one_equation_and_does_not_ask_which_answer_is_whose():
    rng = np.random.default_rng(0)
    w, x, query = (rng.standard_normal(shape) for shape in ((4000, 5), (4000, 20, 5), (4000, 5)))
    y = np.einsum("bd,bkd->bk", w, x)
    answers = evaluation.sums(x, y, query)
    np.testing.assert_allclose(evaluation.sums(x, y[:, ::-1], query), answers)
    np.testing.assert_allclose(evaluation.sums(x, y, x.sum(axis=1)), y.sum(axis=1))
    error = ((answers - (w * query).sum(-1)) ** 2).mean() / 5
    assert error == pytest.approx(1 - 1 / 5, abs=0.06)


def test_averaging_is_its_formula():
    """ŷ = query · mean of x_i y_i, which has no counterpart in scikit-learn."""
    rng = np.random.default_rng(0)
    x, y, query = rng.normal(size=(3, 7, 4)), rng.normal(size=(3, 7)), rng.normal(size=(3, 4))
    for i, answer in enumerate(evaluation.averaging(x, y, query)):
        w = sum(x[i, j] * y[i, j] for j in range(7)) / 7
        assert answer == pytest.approx(float(query[i] @ w))


def test_reference_errors_span_the_scale(tiny):
    """Zero scores 1, least squares 0 from k = d on, and nothing answers without examples."""
    config = tiny(d=3, n_examples=8, evaluation_prompts=3000)
    table = evaluation.reference_errors(
        sampler.evaluation_prompts(config), range(config.n_examples + 1)
    )
    assert list(table.columns) == ["solver", "k", "error"]
    assert len(table) == len(evaluation.REFERENCE_SOLVERS) * 9
    error = table.set_index(["solver", "k"]).error
    assert error["zero"].to_numpy() == pytest.approx(np.ones(9), abs=0.15)
    for solver in evaluation.REFERENCE_SOLVERS:
        assert error[solver, 0] == error["zero", 0]
    assert (error["least squares"].loc[:2] > 0.05).all()
    assert error["least squares", 3] < 1e-3  # square systems: some are ill-conditioned
    assert (error["least squares"].loc[4:] < 1e-6).all()
    assert (error["ridge"].loc[3:].diff().dropna() < 0).all()
    for solver in ("averaging", "3 nearest neighbours"):
        assert 0.05 < error[solver, 8] < error["zero", 8]


def test_the_zero_predictor_is_what_a_silent_model_scores(tiny, perturbed):
    """The metric of models and of solvers is the same one."""
    config = tiny(variants=("CM", "SPE"), evaluation_prompts=500)
    model, prompts = perturbed(config), sampler.evaluation_prompts(config)
    with torch.no_grad():
        model.read_out.weight.zero_()
        model.read_out.bias.zero_()
    errors = evaluation.target_errors(model, prompts, KS).mean(axis=-1)
    table = evaluation.reference_errors(prompts, KS)
    expected = table[table.solver == "zero"].error.to_numpy()
    np.testing.assert_allclose(errors, np.stack([expected, expected]), rtol=1e-5)


@pytest.mark.parametrize("kind", evaluation.FITTING_SOLVERS)
def test_the_solver_of_a_class_beats_those_that_do_not_know_it(tiny, kind):
    """With plenty of examples: what an ideal learner of that class can be measured against."""
    config = tiny(function_class=kind, d=4, n_examples=200, evaluation_prompts=48)
    prompts = sampler.evaluation_prompts(config)
    ((name, solve),) = evaluation.FITTING_SOLVERS[kind].items()
    fitted = evaluation.reference_errors(prompts, [0, 200], {name: solve})
    assert list(fitted.solver) == [name] * 2 and list(fitted.k) == [0, 200]
    others = {name: evaluation.REFERENCE_SOLVERS[name] for name in ("averaging", "zero")}
    if kind != "sparse":
        others["ridge"] = evaluation.ridge
    uninformed = evaluation.reference_errors(prompts, [200], others).error
    assert fitted.error[1] < 0.8 * uninformed.min()
    assert fitted.error[0] == pytest.approx(
        float(prompts.answers[:, 0].square().mean()) / 4, rel=1e-6
    )


def test_lasso_needs_fewer_examples_than_least_squares_on_sparse_functions(tiny):
    config = tiny(function_class="sparse", d=8, n_examples=7, evaluation_prompts=64)
    prompts = sampler.evaluation_prompts(config)
    solvers = {"lasso": evaluation.lasso, "least squares": evaluation.least_squares}
    lasso, least_squares = evaluation.reference_errors(prompts, [6], solvers).error
    assert lasso < 0.7 * least_squares
