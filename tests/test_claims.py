"""The quantities and tests of the analysis plan, against values by hand and scipy's."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from icl_core import records, sampler, training
from icl_core.config import Config
from icl_core.encodings import VARIANTS
from icl_report import claims

pytestmark = pytest.mark.filterwarnings("error")  # too few runs give nan, and no warning


def curves(*errors):
    return pd.DataFrame({"step": 75 * np.arange(1, len(errors) + 1), "target_error": errors})


def runs(variant, at_n, seeds=None, setup="source", b=1, **columns):
    """A table of runs of one variant; what is not given: an error alike everywhere, no take-off."""
    encoding, mask = VARIANTS[variant]
    keys = {"setup": setup, "variant": variant, "encoding": encoding, "mask": mask, "b": b}
    table = pd.DataFrame({"at_n": at_n, "before_n": at_n, "late": at_n}, dtype=float)
    table["seed"] = range(len(at_n)) if seeds is None else list(seeds)
    rest = {"objective": "all", "take_off": math.nan, "steps": 7500, "planted": 1.0}
    return table.assign(**keys, **rest | columns)


def test_take_off_is_the_first_step_below_two_thirds_of_zero_s_and_nan_without_one():
    assert claims.take_off(curves(1, 0.7, 0.66, 0.9, 0.1), 1) == 225
    assert claims.take_off(curves(1, 0.7, 0.66, 0.59, 0.1), 0.9) == 300
    assert math.isnan(claims.take_off(curves(1, 0.7, 2 / 3), 1))
    assert math.isnan(claims.take_off(curves(math.nan, math.inf), 1))


def test_zero_is_the_error_of_answering_zero_on_the_prompts_of_the_curves():
    config = Config(setup="smoke")
    prompts = sampler.evaluation_prompts(config).first(config.curve_prompts)
    by_hand = np.mean(prompts.answers[:, config.n_examples].numpy() ** 2) / config.d
    assert claims.zero("smoke") == pytest.approx(by_hand)
    assert claims.zero("source") == pytest.approx(0.92, abs=0.005)  # of 512 prompts


def test_endpoints_are_at_n_and_the_mean_of_the_later_half_after_the_last_iteration():
    rows = [(1, 5, 9.0), *((2, k, float(k)) for k in range(6))]
    errors = pd.DataFrame(rows, columns=["loops", "k", "error"])
    assert claims.endpoints(errors) == (5, 4, (3 + 4 + 5) / 3)  # at n, before it, later half


def test_endpoints_of_63_examples_begin_at_32():
    errors = pd.DataFrame({"loops": 1, "k": range(64), "error": [1.0] * 32 + [0.0] * 32})
    assert claims.endpoints(errors) == (0, 0, 0)


def test_kaplan_meier_by_hand_with_a_tie_of_an_event_and_a_censored_run():
    # 4 at risk, one event: 3/4; 3 at risk, one event, one censored there: 2/3 of it; then 0.
    table = runs("CM", [1] * 4, take_off=[100, 200, math.nan, 300], steps=[999, 999, 200, 999])
    curve = claims.kaplan_meier(table)
    assert curve.step.tolist() == [0, 100, 200, 300]
    assert curve.waiting.tolist() == pytest.approx([1, 3 / 4, 1 / 2, 0])


def test_kaplan_meier_reaches_the_last_step_when_no_run_takes_off_and_is_empty_without_runs():
    assert claims.kaplan_meier(runs("LPE", [1, 1])).values.tolist() == [[0, 1], [7500, 1]]
    assert not len(claims.kaplan_meier(runs("LPE", [])))


def test_log_rank_is_scipys():
    one = runs("LPE + CM", [1] * 4, take_off=[100, 200, 300, 400])
    other = runs("SPE + CM", [1] * 4, take_off=[500, math.nan, 600, math.nan])
    sample = stats.CensoredData([500, 600], right=[7500, 7500])
    assert claims.log_rank(one, other) == stats.logrank([100, 200, 300, 400], sample).pvalue
    assert math.isnan(claims.log_rank(one, runs("CM", [])))
    assert math.isnan(claims.log_rank(runs("SPE", [1, 1]), runs("CM", [1, 1])))  # no event at all


def test_rate_has_the_exact_interval():
    assert claims.rate(pd.Series([True] * 6)) == pytest.approx((1, 0.025 ** (1 / 6), 1))
    assert claims.rate(pd.Series([True, False]))[0] == 0.5
    assert all(math.isnan(part) for part in claims.rate(pd.Series(dtype=bool)))


def test_ratio_of_paired_runs_is_the_geometric_mean_with_its_wins():
    ratio = claims.ratio([1, 1, 2], [2, 8, 3], paired=True)
    assert (ratio["wins"], ratio["n"]) == (3, 3)
    assert ratio["effect"] == pytest.approx(24 ** (-1 / 3))
    assert (ratio["low"], ratio["high"]) == pytest.approx((1 / 8, 2 / 3))  # one pair three times
    assert ratio["p"] == 2 / 2**3


def test_a_tie_is_no_win():
    ratio = claims.ratio([1, 1, 2], [2, 8, 2], paired=True)
    assert (ratio["wins"], ratio["n"]) == (2, 3)


def test_ratio_of_unpaired_runs_counts_every_pair():
    ratio = claims.ratio([1, 2], [4, 1.5, 3], paired=False)
    assert (ratio["wins"], ratio["n"]) == (5, 6)
    assert ratio["effect"] == pytest.approx(2 ** (1 / 2) / 18 ** (1 / 3))
    assert ratio["p"] == pytest.approx(2 * 2 / 10)  # ranks of 5: at most one pair the other way


def test_one_run_has_a_ratio_without_an_interval_and_no_run_has_none():
    one = claims.ratio([1], [2], paired=True)
    assert (one["effect"], one["wins"], one["n"], one["p"]) == (pytest.approx(0.5), 1, 1, 1)
    assert math.isnan(one["low"]) and math.isnan(one["high"])
    for paired, other in ((True, []), (False, [1, 2])):
        none = claims.ratio([], other, paired)
        assert none["n"] == 0 and math.isnan(none["effect"]) and math.isnan(none["p"])


def test_a_constant_ratio_has_itself_as_interval():
    ratio = claims.ratio([1, 2], [2, 4], paired=True)
    assert [ratio[name] for name in ("effect", "low", "high")] == pytest.approx([0.5] * 3)


@pytest.mark.parametrize(
    ("setup", "one", "other", "paired"),
    [
        ("source", "SPE + CM", "CM", True),
        ("source", "LPE", "LPE + CM", True),
        ("source", "LPE + CM", "CM", False),
        ("source", "TPE + CM", "LPE + CM", False),
        ("source+final-norm", "SPE", "LPE", False),
        ("gpt2", "LPE + CM", "CM", True),
        ("gpt2+tree", "TPE", "SPE", True),
    ],
)
def test_runs_are_paired_where_they_share_weights_and_batches(setup, one, other, paired):
    table = pd.concat([runs(one, [1, 2, 4], setup=setup), runs(other, [8, 2], [2, 0], setup)])
    result = claims.compare(table, one, other)
    assert (result["runs"], result["n"]) == (("2 + 2", 2) if paired else ("3 + 2", 6))
    assert result["effect"] == pytest.approx(0.5)


def test_variants_that_are_not_there_have_nothing_to_compare():
    assert claims.compare(runs("CM", [1]), "LPE", "LPE + CM")["runs"] == "0 + 0"
    assert claims.compare(runs("CM", []), "LPE", "CM")["n"] == 0


def test_holm_by_hand_with_a_claim_that_cannot_be_tested_yet():
    assert claims.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    adjusted = claims.holm([0.01, math.nan])
    assert adjusted[0] == 0.02 and math.isnan(adjusted[1])


def primary_runs(n=17, few=10):
    """A pilot that says the opposite, and new seeds with effects one knows."""
    rising, late = np.arange(1, n + 1) / 100, np.arange(1, few + 1) / 100
    pilot = [runs(name, [9.0] * 3, claims.PILOT) for name in ("LPE", "LPE + CM", "CM", "SPE + CM")]
    return pd.concat(
        [
            *pilot,
            runs("LPE + CM", rising, take_off=1000),
            runs("LPE", 1 + late),
            runs("SPE", 0.5 + late, before_n=1.0, planted=[0.0] * (few - 1) + [1.0]),
            runs("CM", 0.4 + rising),
            runs("SPE + CM", 0.3049 + 2 * rising, take_off=([1000] * 5 + [math.nan] * n)[:n]),
        ]
    )


def test_the_five_primary_claims_are_scipys_tests_on_the_new_seeds_alone():
    result = claims.primary(primary_runs()).set_index("claim")
    assert list(result.index) == ["P1", "P2", "P3", "P4", "P5"]
    assert result.runs.tolist() == ["10 + 10", "17 + 17", "10", "17 + 17", "17 + 17"]
    assert result.p["P1"] == pytest.approx(2 / 2**10)  # all ten pairs one way
    assert result.p["P2"] == pytest.approx(2 / math.comb(34, 17))  # complete separation
    assert result.p["P3"] == pytest.approx(2 * (1 + 10) / 2**10)  # nine of ten: one does not copy
    assert result.effect["P3"] == 0.9
    assert result.p["P4"] == pytest.approx(stats.fisher_exact([[5, 12], [17, 0]]).pvalue)
    assert result.effect["P4"] == pytest.approx(5 / 17 - 1)
    assert result.low["P4"] < result.effect["P4"] < result.high["P4"]
    difference = np.arange(1, 18) / 100 - 0.0951
    assert result.p["P5"] == pytest.approx(stats.wilcoxon(difference).pvalue)
    assert result.holm.tolist() == pytest.approx(claims.holm(result.p))


def test_the_primary_claims_take_the_other_endpoint_too():
    table = primary_runs()
    table["late"] = table.at_n.where(table.variant != "LPE + CM", 3.0)
    result = claims.primary(table, "late").set_index("claim")
    assert result.effect["P1"] > 1 and result.effect["P2"] > 1


@pytest.mark.parametrize("n", [0, 1])
def test_the_primary_claims_stand_empty_until_their_runs_are_recorded(n):
    result = claims.primary(primary_runs(n, n)[lambda t: t.seed.isin([*claims.PILOT, *range(n)])])
    assert len(result) == 5
    assert result.p.isna().all() if n == 0 else (result.p.dropna() == 1).all()


def test_a_recorded_run_is_one_row_and_no_run_an_empty_table(tiny, tmp_path):
    run = training.run(tiny(variant="SPE + CM", b=2), str(tmp_path))
    (row,) = claims.outcomes([run]).itertuples(index=False)
    errors = run.table("errors.csv")
    assert row[:7] == ("smoke", "SPE + CM", "SPE", "CM", "all", 2, 0)
    assert row.at_n == errors.error.iloc[-1] and row.steps == 4
    assert row.planted == run.table("probes.csv").planted.iloc[-1]
    assert list(claims.outcomes([])) == list(claims.outcomes([run]))
    assert list(claims.outcomes([run]))[:7] == records.KEYS


def test_a_run_without_planted_answers_has_nan_and_later_ones_count(tiny, tmp_path):
    run = training.run(tiny(variant="LPE"), str(tmp_path))
    sums = records.read_sums(run.folder)
    records.write_sums(run.folder, {k: v for k, v in sums.items() if k != "probes.csv"})
    assert math.isnan(claims.outcomes([run]).planted[0])
    records.write_measurements(run, "planted.csv", pd.DataFrame({"planted": [0.25]}))
    assert claims.outcomes([run]).planted[0] == 0.25


def test_what_copies_is_told_by_the_planted_error():
    assert claims.copies(pd.Series([0.011, 0.49, 0.5, 0.88, math.nan])).tolist() == [
        True,
        True,
        False,
        False,
        False,
    ]
