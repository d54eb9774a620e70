"""Verdicts come out either way, and only where the interval allows it."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from icl_report.verdicts import (
    claim,
    instability,
    judge,
    last_rows,
    outcomes,
    overall,
    per_run,
    typical,
    withhold,
)


def at_b1(values) -> pd.Series:
    """One value a seed, all at b = 1."""
    index = pd.MultiIndex.from_product([[1], range(len(values))], names=["b", "seed"])
    return pd.Series(values, index=index, dtype=float)


@pytest.mark.parametrize(
    "values, threshold, status",
    [
        ([0.9, 1.0, 1.1], {"above": 0.5}, "confirmed"),
        ([0.1, 0.12, 0.11], {"above": 0.5}, "not confirmed"),
        ([0.2, 0.5, 0.8], {"above": 0.5}, "open"),
        ([0.1, 0.12, 0.11], {"below": 0.5}, "confirmed"),
        ([0.9, 1.0, 1.1], {"below": 0.5}, "not confirmed"),
        ([0.9], {"above": 0.5}, "open"),
        ([0.9, 0.901], {"above": 0.5}, "open"),
        ([], {"above": 0.5}, "open"),
        ([0.9, 1.0, np.nan], {"above": 0.5}, "open"),
    ],
)
def test_status(values, threshold, status):
    assert judge(at_b1(values), **threshold).status == status


@pytest.mark.parametrize("thresholds", [{}, {"above": 0.5, "below": 1}])
def test_a_claim_has_one_threshold(thresholds):
    with pytest.raises(ValueError, match="give one of the two"):
        judge(at_b1([0.9, 1.0, 1.1]), **thresholds)


def test_geometric_interval_is_students_on_logarithms():
    values = [0.5, 0.7, 0.4, 0.6]
    verdict = judge(at_b1(values), below=1, geometric=True)
    logs = np.log(values)
    low, high = stats.t.interval(0.95, 3, loc=logs.mean(), scale=stats.sem(logs))
    assert verdict.value == pytest.approx(stats.gmean(values))
    assert (verdict.low, verdict.high) == pytest.approx((np.exp(low), np.exp(high)))
    assert verdict.seeds == 4


@pytest.mark.parametrize(
    "runs, b, value, seeds",
    [
        ({(1, 0): 1, (5, 0): 3, (1, 1): 2, (5, 1): 4}, (1, 5), 2.5, 2),
        ({(1, 0): 1, (5, 0): 9, (1, 1): 2, (5, 1): 9, (1, 2): 3}, (1,), 2.0, 3),
        ({(1, 0): 1, (5, 0): 3, (1, 1): 2, (5, 1): 4, (5, 2): 8}, (5,), 5.0, 3),
        ({(1, 0): 1, (1, 1): 2, (5, 2): 9, (5, 3): 9}, (1,), 1.5, 2),
    ],
)
def test_runs_of_one_seed_count_once_and_a_half_covered_b_not_at_all(runs, b, value, seeds):
    """A grid that is half done must not undo what the done half has shown."""
    values = pd.Series(runs, dtype=float).rename_axis(["b", "seed"])
    verdict = judge(values, above=0)
    assert (verdict.b, verdict.value, verdict.seeds) == (b, value, seeds)


def test_a_b_of_a_single_seed_does_not_count_beside_one_of_several():
    """Or a first run at b = 5 would turn every verdict that b = 1 has earned back to open."""
    runs = {(1, 0): 1.0, (1, 1): 2.0, (1, 2): 3.0, (5, 0): 100.0}
    index = pd.MultiIndex.from_tuples(runs, names=["b", "seed"])
    verdict = judge(pd.Series(list(runs.values()), index=index), above=0)
    assert (verdict.value, verdict.seeds, verdict.status) == (2.0, 3, "open")
    few = judge(pd.Series({(1, 0): 1.0, (5, 0): 3.0}).rename_axis(["b", "seed"]), above=0)
    assert (few.value, few.seeds, few.status) == (2.0, 1, "open")


@pytest.mark.parametrize(
    "values, side, agree",
    [
        ([0.2, 3, 3], {"above": 1}, 2),
        ([0.2, 3, 3], {"below": 1}, 1),
        ([0.2, np.nan], {"below": 1}, 1),
    ],
)
def test_seeds_on_the_claimed_side_are_counted(values, side, agree):
    assert judge(at_b1(values), geometric=True, **side).agree == agree


def test_a_claim_that_one_b_contradicts_is_open():
    """The mean over b lies far below 1, and so does b = 1; b = 5 lies as surely above."""
    at_1, at_5 = (0.20, 0.21, 0.19), (2.0, 2.1, 1.9)
    runs = {(1, i): v for i, v in enumerate(at_1)} | {(5, i): v for i, v in enumerate(at_5)}
    both = pd.Series(runs).rename_axis(["b", "seed"])
    assert judge(both, below=1, geometric=True).status == "confirmed"
    row = claim("1", "E", both, below=1)
    assert (row["status"], row["high"] < 1) == ("open", True)
    assert {b: own.status for b, own in row["by_b"].items()} == {1: "confirmed", 5: "not confirmed"}
    assert claim("1", "E", both, below=3)["status"] == "confirmed"


def test_a_typical_error_is_the_geometric_mean_and_nan_where_a_run_diverged():
    assert typical(pd.Series([0.1, 1.0, 10.0])) == pytest.approx(1)
    assert np.isnan(typical(pd.Series([0.1, np.nan])))


def test_a_point_is_confirmed_as_a_whole_only():
    rows = [("1", "confirmed"), ("1", "open"), ("2", "confirmed"), ("2", "confirmed")]
    rows += [("3", "open"), ("3", "not confirmed"), ("3", "confirmed")]
    results = pd.DataFrame(rows, columns=["point", "status"])
    assert overall(results) == {"1": "open", "2": "confirmed", "3": "not confirmed"}


def test_what_a_failed_control_leaves_undecided_is_open_and_says_why():
    results = pd.DataFrame({"point": ["1", "2"], "status": ["not confirmed", "confirmed"]})
    withheld = withhold(results, pd.Series([True, False]))
    assert withheld.status.tolist() == ["open", "confirmed"]
    assert set(withheld.why[0]) == {"ru", "en"} and withheld.why[1] is None


@given(st.lists(st.floats(0.01, 100), min_size=2, max_size=8), st.floats(0.01, 100))
def test_above_and_below_are_opposites(values, threshold):
    opposite = {"confirmed": "not confirmed", "not confirmed": "confirmed", "open": "open"}
    above = judge(at_b1(values), above=threshold).status
    assert judge(at_b1(values), below=threshold).status == opposite[above]


def curves(errors: dict[tuple[int, int], list[float]]) -> pd.DataFrame:
    """A curves table of one variant from its errors by (b, seed)."""
    return pd.DataFrame(
        [
            (b, seed, "CM", 100 * (i + 1), 0.0, error)
            for (b, seed), run in errors.items()
            for i, error in enumerate(run)
        ],
        columns=["b", "seed", "variant", "step", "training_loss", "target_error"],
    )


def test_instability_is_the_mean_distance_in_decades_to_the_runs_of_the_same_b():
    same = {(5, seed): [7, 7] for seed in range(3)}
    table = curves({(1, 0): [1, 1000], (1, 1): [1, 1], (1, 2): [1, 1], **same})
    expected = {(1, 0): 1, (1, 1): 0.5, (1, 2): 0.5, (5, 0): 0, (5, 1): 0, (5, 2): 0}
    assert instability(table, "CM").to_dict() == pytest.approx(expected)


def test_instability_of_a_diverged_run_is_no_number():
    """Its healthy steps alone would make it look like the others, and the claim is left open."""
    found = instability(curves({(1, 0): [1, 2], (1, 1): [1, 3], (1, 2): [1, math.nan]}), "CM")
    assert found.isna().to_dict() == {(1, 0): False, (1, 1): False, (1, 2): True}
    assert judge(found, above=-10).status == "open"


def test_instability_takes_three_runs_of_a_b():
    """Two runs are always equally far from their mean: an interval of no width, from nothing."""
    few = instability(curves({(1, 0): [1, 10], (1, 1): [5, 2], (5, 0): [1, 2]}), "CM")
    assert few.empty
    assert judge(few - few, above=0).status == "open"


def test_outcomes_are_of_full_prompts_and_of_the_last_step():
    """And the mean over the longer half of the prompts, which a diverged variant has not."""
    rows = [(1, 0, v, k, k / 10) for v in ("CM", "LPE") for k in range(8)]
    errors = pd.DataFrame(rows, columns=["b", "seed", "variant", "k", "error"])
    errors.loc[errors.variant == "LPE", "error"] = math.nan
    both = pd.concat([curves({(1, 0): [3, 4]}), curves({(1, 0): [5, 6]}).assign(variant="LPE")])
    found = outcomes(errors, both).set_index("variant")
    assert found.error.CM == 0.7 and found.target_error.to_dict() == {"CM": 4, "LPE": 6}
    np.testing.assert_allclose(found.many.CM, (0.4 + 0.5 + 0.6 + 0.7) / 4)
    assert math.isnan(found.many.LPE)


def test_per_run_and_last_rows_pair_runs_by_b_and_seed():
    table = last_rows(curves({(5, 1): [3, 4], (1, 0): [1, 2]}))
    assert per_run(table, "CM", "target_error").to_dict() == {(1, 0): 2, (5, 1): 4}
