"""Recorded weights elsewhere: only the named thing changes, and 0 and 1 keep their meaning."""

import numpy as np
import pandas as pd
import pytest
import torch

from icl_report import evaluation, generalisation, records, sampler, training
from icl_report.config import VARIANTS
from icl_report.generalisation import SCALES, drawn, extended, iteration_errors, measure

DRAWN = 20_000


@pytest.mark.parametrize("name", SCALES)
def test_the_zero_predictor_scores_one_and_least_squares_nothing_without_noise(name):
    """After division by the answers' scale: a harder distribution is not just a larger one."""
    prompts, (x_scale, w_scale, noise) = drawn(name, DRAWN, 8, 3).prompts(8), SCALES[name]
    scale = 3 * (x_scale * w_scale) ** 2
    assert float(prompts.answers[:, -1].square().mean()) / scale == pytest.approx(1, rel=0.08)
    x, y = prompts.tokens[:, 0::2].double().numpy(), prompts.tokens[:, 1::2, 0].double().numpy()
    solved = evaluation.least_squares(x[:, :8], y, x[:, 8])
    error = ((solved - prompts.answers[:, -1].numpy()) ** 2).mean() / scale
    assert (error < 1e-5) == (noise == 0)


def test_distributions_differ_in_what_they_are_named_after_alone():
    """The same draws: x three times as large is the same prompt, scaled."""
    plain, large = (drawn(name, 50, 4, 3).prompts(4) for name in ("as trained", "3 x"))
    torch.testing.assert_close(large.tokens, 3 * plain.tokens)
    torch.testing.assert_close(large.answers, 3 * plain.answers)
    plain, noisy = (drawn(name, DRAWN, 4, 3).prompts(4) for name in ("as trained", "noise 0.5"))
    disturbance = (noisy.tokens - plain.tokens)[:, 1::2, 0]
    assert disturbance.std().item() == pytest.approx(0.5, rel=0.02)
    assert torch.equal(noisy.tokens[:, 0::2], plain.tokens[:, 0::2])
    assert torch.equal(noisy.answers[:, -1], plain.answers[:, -1])


def test_every_number_of_examples_asks_the_same_query():
    """More examples in front of it, nothing else: ratios between lengths are paired."""
    elsewhere = drawn("noise 0.1", 5, 9, 3)
    for k in (0, 1, 4, 9):
        prompts, all_of_it = elsewhere.prompts(k), elsewhere.prompts(9)
        assert prompts.tokens.shape == (5, 2 * k + 1, 3)
        assert torch.equal(prompts.tokens[:, : 2 * k], all_of_it.tokens[:, : 2 * k])
        assert torch.equal(prompts.tokens[:, -1], all_of_it.tokens[:, -1])
        assert torch.equal(prompts.answers[:, -1], all_of_it.answers[:, -1])


@pytest.mark.parametrize("n", [1, 3, 20, 63, 200])
def test_lengths_hold_the_trained_one_its_neighbours_and_twice_it(n):
    ks = generalisation.lengths(n)
    assert {0, n - 1, n, n + 1, 2 * n, 4 * n + 3} <= set(ks)
    assert ks == sorted(set(ks)) and ks[-1] == 4 * n + 3


def test_skewed_coordinates_have_falling_eigenvalues_and_the_same_trace():
    x = np.random.default_rng(0).standard_normal((2, 40_000, 4))
    skewed = sampler.skewed(np.random.default_rng(1), x)
    expected = 1 / np.arange(4, 0, -1) ** 2
    for own in skewed:
        eigenvalues = np.linalg.eigvalsh(np.cov(own.T))
        np.testing.assert_allclose(eigenvalues, expected * 4 / expected.sum(), rtol=0.05)
    covariances = [np.cov(own.T) for own in skewed]
    assert np.abs(covariances[0] - covariances[1]).max() > 0.3  # another one each prompt


@pytest.mark.parametrize("how", ["zeros", "interpolated"])
def test_an_extended_table_starts_or_ends_as_the_trained_one(tiny, perturbed, how):
    model = perturbed(tiny(variants=("LPE",)))
    table = model.encodings["learned"].table.detach().clone()
    longer = extended(model, 21, how).encodings["learned"].table.detach()
    assert longer.shape == (1, 21, 16)
    torch.testing.assert_close(model.encodings["learned"].table.detach(), table)  # a copy
    if how == "zeros":
        assert torch.equal(longer[:, :11], table) and not longer[:, 11:].any()
    else:
        torch.testing.assert_close(longer[:, ::2], table)
        torch.testing.assert_close(longer[:, 1], (table[:, 0] + table[:, 1]) / 2)


def test_iterations_of_one_pass_are_those_of_models_run_for_as_long(tiny, perturbed):
    config = tiny(b=2, variants=("CM", "SPE"))
    model, prompts = perturbed(config), sampler.evaluation_prompts(config)
    errors = iteration_errors(model, prompts, 4)
    for loops in (1, 2, 4):
        expected = evaluation.target_errors(model, prompts, [5], loops)[:, 0]
        np.testing.assert_allclose(errors[:, loops - 1], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["LPE + CM", "SPE", "pair + CM", "TPE"])
def test_a_table_has_a_row_for_everything_that_was_tried(tiny, perturbed, name):
    """LPE ends at its table and goes on only in the two named ways; pair just ends."""
    config = tiny(b=2)
    table = measure(perturbed(config, (VARIANTS[name],)), config)
    assert list(table.columns) == generalisation.COLUMNS
    assert not table.duplicated(generalisation.COLUMNS[:5]).any()
    assert table.error.notna().all()
    assert (table.low <= table.error).all() and (table.error <= table.high).all()
    by_length = table[(table.prompts == "as trained") & (table.loops == 2)]
    reach = {extension: own.k.max() for extension, own in by_length.groupby("extension")}
    expected = {"LPE + CM": {"": 5, "zeros": 23, "interpolated": 23}, "pair + CM": {"": 5}}
    assert reach == expected.get(name, {"": 23})
    full = table[(table.k == 5) & (table.extension == "")]
    assert set(full.prompts) == set(SCALES)
    assert sorted(full[full.prompts == "as trained"].loops) == [*range(1, 21)]


def test_measurements_are_made_once_and_go_with_their_run(tiny, tmp_path, monkeypatch):
    """From the recorded weights; a table of other variants is refused, not mended."""
    run = training.run(tiny(), str(tmp_path))
    first = generalisation.measured(run)
    path = run.folder / "elsewhere.csv"
    assert {p.name for p in run.folder.iterdir()} == {*records.FILES, *records.LATER, path.name}
    monkeypatch.setattr(generalisation, "measure", None)
    pd.testing.assert_frame_equal(generalisation.measured(run), first)
    assert set(first.extension) == {"", "zeros", "interpolated"}
    records.write_measurements(run, path.name, first[first.variant == "CM"])
    with pytest.raises(records.RecordError, match="is not a complete table"):
        generalisation.measured(run)


def test_measurements_of_several_runs_count_a_variant_of_two_once(tiny, tmp_path):
    """A later ablation's run has the variants that it took over, too."""
    run = training.run(tiny(), str(tmp_path))
    table = generalisation.measured_in([run, run])
    assert len(table) == len(generalisation.measured(run)) and set(table.variant) == {"CM", "LPE"}
    assert set(zip(table.b, table.seed)) == {(run.config.b, run.config.seed)}


def test_the_querys_shares_are_kept_beside_the_run(tiny, tmp_path, monkeypatch):
    """A report over a thousand runs reads them; it does not ask a thousand models."""
    run = training.run(tiny(), str(tmp_path))
    first = generalisation.query_shares(run)
    prompts = sampler.evaluation_prompts(run.config)
    anew = evaluation.query_share(training.recorded_model(run), prompts)
    assert dict(zip(first.variant, first.share)) == pytest.approx(dict(zip(("CM", "LPE"), anew)))
    monkeypatch.setattr(training, "recorded_model", None)
    pd.testing.assert_frame_equal(generalisation.query_shares(run), first)


def test_the_errors_of_single_prompts_average_to_the_recorded_error(tiny, tmp_path, monkeypatch):
    """And are kept beside the run, as the shares are."""
    run = training.run(tiny(), str(tmp_path))
    first = generalisation.prompt_errors(run)
    full = run.errors[run.errors.k == run.config.n_examples].set_index("variant").error
    assert set(first.prompt) == set(range(run.config.evaluation_prompts))
    means = first.groupby("variant").error.mean()
    assert dict(means) == pytest.approx(dict(full), rel=1e-5)
    monkeypatch.setattr(training, "recorded_model", None)
    pd.testing.assert_frame_equal(generalisation.prompt_errors(run), first)


def test_ratios_on_single_prompts_have_a_row_a_pair_and_run(tiny, tmp_path):
    """The means' ratio, in an interval about it; a variant against itself is 1 beyond doubt."""
    run = training.run(tiny(), str(tmp_path))
    pairs = [("LPE", "CM"), ("CM", "CM")]
    table = generalisation.paired_ratios([run], pairs)
    assert table.quantity.tolist() == ["E(LPE) / E(CM)", "E(CM) / E(CM)"]
    assert set(zip(table.b, table.seed)) == {(run.config.b, run.config.seed)}
    means = generalisation.prompt_errors(run).groupby("variant").error.mean()
    assert table.ratio.tolist() == pytest.approx([means["LPE"] / means["CM"], 1])
    assert table.low[0] < table.ratio[0] < table.high[0]
    assert table.loc[1, ["low", "high"]].tolist() == [1, 1]


def test_a_planted_answer_tells_which_runs_copy(tiny, tmp_path, monkeypatch):
    """Who copies predicts the planted answer; “always zero” does not."""
    run = training.run(tiny(), str(tmp_path))
    first = generalisation.planted_answers(run)
    assert list(first.variant) == list(run.config.variants)
    assert (run.folder / "planted.csv").exists() and not generalisation.copying([run]).copies.any()
    planted = first.assign(planted=[0.01, 1.2])
    monkeypatch.setattr(generalisation, "planted_answers", lambda run: planted)
    found = generalisation.copying([run, run])
    assert found.columns.tolist() == ["b", "seed", "variant", "copies"]
    assert found.copies.tolist() == [True, False] * 2


def test_a_diverged_variant_is_measured_as_not_a_number(tiny, tmp_path, monkeypatch):
    """Numbers all the same: the table can be averaged, and the average says so."""
    run = training.run(tiny(), str(tmp_path))
    weights = {name: torch.full_like(w, torch.nan) for name, w in run.weights().items()}
    monkeypatch.setattr(records.Run, "weights", lambda run: weights)
    table = generalisation.measured(run)
    assert table.error.dtype == float and table.error.isna().all()
