"""Verdicts on claims: a quantity a run, its interval over runs, and what the interval decides."""

from typing import NamedTuple

import numpy as np
import pandas as pd

from icl_report.evaluation import interval_over_seeds

WORST_FIRST = ("not confirmed", "open", "confirmed")
FEWEST = 3  # seeds that a verdict takes (our choice): an interval over two turns with the third


class Verdict(NamedTuple):
    """A quantity's mean over seeds with its 95 % interval, and what follows for the claim."""

    value: float
    low: float
    high: float
    b: tuple[int, ...]  # averaged over within a seed
    seeds: int
    agree: int  # of them, those whose own value is on the claimed side
    status: str  # confirmed | not confirmed | open


def judge(
    values: pd.Series,
    *,
    above: float | None = None,
    below: float | None = None,
    geometric: bool = False,
) -> Verdict:
    """The claim that a quantity, given once a run, is on average above (or below) a threshold.

    values is indexed by (b, seed). Runs of one seed share weights and batches, so they are averaged
    over b first, and the interval is over seeds. Only those b count that have every seed of the
    best covered b, and of the seeds those that every such b has. Confirmed when the whole
    interval lies on the claimed side, not confirmed when all of it lies on the other, open
    otherwise: with fewer than FEWEST seeds, and where a run diverged. geometric takes means and
    intervals of logarithms, as ratios want it. Raises ValueError unless one threshold is given.
    """
    if (above is None) == (below is None):
        raise ValueError(f"above = {above}, below = {below}: give one of the two, not both or none")
    values = np.log(values) if geometric else values
    seeds = {b: set(own.index.get_level_values("seed")) for b, own in values.groupby("b")}
    best = max(seeds.values(), key=len, default=set())
    counted = tuple(b for b, own in seeds.items() if own >= best)
    values = values.unstack("b").reindex(index=sorted(best), columns=list(counted))
    values = values.mean(axis=1, skipna=False)
    interval = interval_over_seeds(values)
    value, low, high = np.exp(interval) if geometric else interval
    values = np.exp(values) if geometric else values
    if above is not None:
        confirmed, refuted, agree = low > above, high < above, values > above
    else:
        confirmed, refuted, agree = high < below, low > below, values < below
    decided = "confirmed" if confirmed else "not confirmed" if refuted else "open"
    status = decided if len(values) >= FEWEST else "open"
    numbers = float(value), float(low), float(high)
    return Verdict(*numbers, counted, len(values), int(agree.sum()), status)


def claim(
    point: str,
    quantity: str | dict[str, str],
    values: pd.Series,
    *,
    above: float | None = None,
    below: float | None = None,
    geometric: bool = True,
) -> dict:
    """A row of results: the claim's point and quantity, its threshold, and what judge makes of it.

    by_b holds the same judgement for each b alone: how far b changes the effect. Where one of them
    contradicts the verdict over all b, the claim is open.
    """
    side = {"above": above, "below": below, "geometric": geometric}
    row = {"point": point, "quantity": quantity, "above": above, "below": below}
    row["by_b"] = {b: judge(own, **side) for b, own in values.groupby("b")}
    verdict = judge(values, **side)
    statuses = {verdict.status, *(own.status for own in row["by_b"].values())}
    if {"confirmed", "not confirmed"} <= statuses:
        verdict = verdict._replace(status="open")
    return row | {"geometric": geometric} | verdict._asdict()


def withhold(results: pd.DataFrame, uncontrolled: pd.Series) -> pd.DataFrame:
    """The rows that a failed control leaves undecided become open; column why has the reason."""
    reason = {"ru": "не обучился и контроль", "en": "the control has not learned either"}
    status = results.status.mask(uncontrolled, "open")
    return results.assign(status=status, why=[reason if own else None for own in uncontrolled])


def typical(values: pd.Series) -> float:
    """The geometric mean, as errors of runs want it; nan where one of them is (a run diverged)."""
    return float(np.exp(np.log(values).mean(skipna=False)))


def per_run(table: pd.DataFrame, variant: str, column: str) -> pd.Series:
    """The column's value for one variant, indexed by (b, seed); table has one row a run of it."""
    own = table[table.variant == variant]
    return own.set_index(["b", "seed"])[column].sort_index()


def last_rows(curves: pd.DataFrame) -> pd.DataFrame:
    """The last row of each variant of each run."""
    return curves.sort_values("step").groupby(["b", "seed", "variant"]).tail(1)


def outcomes(errors: pd.DataFrame, curves: pd.DataFrame) -> pd.DataFrame:
    """A row a variant and run: its errors on full prompts and the last row of its curve.

    Column many is the target error averaged over all k from half the full prompt's on; nan where
    the variant diverged.
    """
    keys, n = ["b", "seed", "variant"], errors.k.max()
    many = errors[errors.k >= (n + 1) // 2].groupby(keys).error
    many = many.agg(lambda own: own.mean(skipna=False)).rename("many").reset_index()
    return errors[errors.k == n].merge(last_rows(curves), on=keys).merge(many, on=keys)


def instability(curves: pd.DataFrame, variant: str) -> pd.Series:
    """How far a run strays from the others of its b: one number a run, indexed by (b, seed).

    The mean over logged steps of |log10 error - mean over the runs of that b of log10 error|, the
    error being the target error at that step. 0.3 is a factor of two. Runs whose b has fewer than
    three are left out: two always stray equally far. nan where the run diverged.
    """
    own = curves[curves.variant == variant]
    own = own.assign(log=np.log10(own.target_error))
    runs = own.groupby("b").seed.transform("nunique")
    own = own[runs > 2]
    away = (own.log - own.groupby(["b", "step"]).log.transform("mean")).abs()
    return away.groupby([own.b, own.seed]).agg(lambda steps: steps.mean(skipna=False))


def overall(results: pd.DataFrame) -> dict[str, str]:
    """The status of each point as a whole: confirmed if all of its rows are, not if one is not."""
    return {
        point: next(status for status in WORST_FIRST if status in set(own.status))
        for point, own in results.groupby("point", sort=False)
    }
