"""Verdicts on claims: a quantity a run, its interval over runs, and what the interval decides."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from icl_core.evaluation import interval_over_runs


class Verdict(NamedTuple):
    """A quantity's mean over runs with its 95 % interval, and what follows for the claim."""

    value: float
    low: float
    high: float
    runs: int
    status: str  # confirmed | not confirmed | open


def judge(
    values: Sequence[float],
    *,
    above: float | None = None,
    below: float | None = None,
    geometric: bool = False,
) -> Verdict:
    """The claim that a quantity, given once a run, is on average above (or below) a threshold.

    Confirmed when the whole interval lies on the claimed side, not confirmed when the whole
    interval lies on the other, open otherwise: with fewer than two runs there is no interval.
    geometric takes the mean and the interval of logarithms, as ratios want it.
    """
    values = np.asarray(values, dtype=float)
    interval = interval_over_runs(np.log(values) if geometric else values)
    value, low, high = np.exp(interval) if geometric else interval
    if above is not None:
        confirmed, refuted = low > above, high < above
    else:
        confirmed, refuted = high < below, low > below
    status = "confirmed" if confirmed else "not confirmed" if refuted else "open"
    return Verdict(float(value), float(low), float(high), len(values), status)


def per_run(table: pd.DataFrame, variant: str, column: str) -> pd.Series:
    """The column's value for one variant, indexed by (b, seed); table has one row a run of it."""
    own = table[table.variant == variant]
    return own.set_index(["b", "seed"])[column].sort_index()


def last_rows(curves: pd.DataFrame) -> pd.DataFrame:
    """The last row of each variant of each run."""
    return curves.sort_values("step").groupby(["b", "seed", "variant"]).tail(1)


def instability(curves: pd.DataFrame, variant: str) -> pd.Series:
    """How far a run strays from the others of its b: one number a run, indexed by (b, seed).

    The mean over logged steps of |log10 error - mean over the runs of that b of log10 error|, the
    error being the target error at that step: Levene's quantity, step by step. 0.3 is a factor
    of two. Runs whose b has no second run are left out: there is nothing to stray from.
    """
    own = curves[curves.variant == variant]
    own = own.assign(log=np.log10(own.target_error))
    runs = own.groupby("b").seed.transform("nunique")
    own = own[runs > 1]
    away = (own.log - own.groupby(["b", "step"]).log.transform("mean")).abs()
    return away.groupby([own.b, own.seed]).mean()
