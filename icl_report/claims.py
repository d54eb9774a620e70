"""Quantities and tests of the analysis plan; the unit is a run, nan where there are too few."""

from functools import cache

import numpy as np
import pandas as pd
from numpy import nan
from scipy import stats

from icl_core.config import Config
from icl_core.encodings import ENCODINGS, VARIANTS, Learned
from icl_core.records import KEYS, Run, read_sums
from icl_core.sampler import evaluation_prompts

PILOT = (42, 451, 1984)  # seeds known before the plan was frozen: in no primary test


def outcomes(runs: list[Run]) -> pd.DataFrame:
    """The table of runs: KEYS, endpoints, take_off, steps (trained), planted (its error)."""
    rows = []
    for run in runs:
        keys, curves = [getattr(run.config, key) for key in KEYS], run.table("curves.csv")
        names = {"planted.csv", "probes.csv"} & read_sums(run.folder).keys()
        planted = run.table(max(names)).planted.iloc[-1] if names else nan
        ends, flight = endpoints(run.table("errors.csv")), take_off(curves, zero(run.config.setup))
        rows.append([*keys, *ends, flight, curves.step.max(), planted])
    ends = ["at_n", "before_n", "late", "take_off", "steps", "planted"]
    return pd.DataFrame(rows, columns=[*KEYS, *ends])


def endpoints(errors: pd.DataFrame) -> tuple[float, float, float]:
    """After the last iteration: error at k = n and n - 1, and mean over k = (n + 1) // 2 … n."""
    last = errors[errors.loops == errors.loops.max()].set_index("k").error
    n = last.index.max()
    return last[n], last[n - 1], last.loc[(n + 1) // 2 :].mean()


@cache
def zero(setup: str) -> float:
    """The zero predictor's error on the prompts of a setup's curves; expected is 1."""
    config = Config(setup=setup)
    answers = evaluation_prompts(config).first(config.curve_prompts).answers[:, -1]
    return float(answers.square().mean()) / config.d


def take_off(curves: pd.DataFrame, zero: float) -> float:
    """The first step logged with an error below 2/3 of the zero predictor's; nan: none."""
    return float(curves.step[curves.target_error < 2 / 3 * zero].min())


def copies(planted: pd.Series) -> pd.Series:
    """Does it copy? 0 is the planted answer, about 1 a prediction that has nothing to do with it;
    .5 is our choice: of the runs recorded then none lay between .02 and .85."""
    return planted < 0.5


def censored(table: pd.DataFrame) -> stats.CensoredData:
    """Steps of take-off; a run without one is censored at the last step it was trained for."""
    return stats.CensoredData(table.take_off.dropna(), right=table.steps[table.take_off.isna()])


def kaplan_meier(table: pd.DataFrame) -> pd.DataFrame:
    """Rows (step, waiting): the share of runs that have not taken off yet, from step 0 on."""
    curve = stats.ecdf(censored(table)).sf
    rows = {"step": [0, *curve.quantiles], "waiting": [1, *curve.probabilities]}
    return pd.DataFrame(rows).head(None if len(table) else 0)


def log_rank(one: pd.DataFrame, other: pd.DataFrame) -> float:
    """p of the log-rank test that the runs of both tables take off alike."""
    with np.errstate(invalid="ignore"):
        return float(stats.logrank(censored(one), censored(other)).pvalue)


def rate(happened: pd.Series, method: str = "exact") -> tuple[float, float, float]:
    """The share of runs in which it happened, and its 95 % interval: Clopper–Pearson's, exact."""
    if not len(happened):
        return nan, nan, nan
    result = stats.binomtest(int(np.sum(happened)), len(happened))
    return result.statistic, *result.proportion_ci(0.95, method)


def ratio(one: pd.Series, other: pd.Series, paired: bool) -> dict:
    """effect: ratio of errors, geometric means over seeds; low, high: bootstrap over seeds, 95 %.

    wins: in how many of n pairs (all there are, if they are not paired) one's error is lower; p:
    Wilcoxon's test of the differences, or Mann and Whitney's.
    """
    test, lower = (stats.wilcoxon, np.less) if paired else (stats.mannwhitneyu, np.less.outer)
    logs, effect, low, high, p = [np.log(np.array(e)) for e in (one, other)], nan, nan, nan, nan
    if (wins := lower(*logs)).size:
        effect = np.exp(np.mean(logs[0]) - np.mean(logs[1]))
        p = test(one, other, method="exact").pvalue
    if min(wins.shape) > 1:
        seeds = {"paired": paired, "method": "percentile", "rng": 0}
        sampled = stats.bootstrap(logs, lambda a, b, axis: a.mean(axis) - b.mean(axis), **seeds)
        low, high = np.exp(sampled.confidence_interval)
    return dict(effect=effect, low=low, high=high, p=p, wins=int(wins.sum()), n=wins.size)


def compare(table: pd.DataFrame, one: str, other: str, endpoint: str = "at_n") -> dict:
    """The ratio of two variants' errors in one setup at one b, in pairs where runs of a seed share
    weights and batches: not where torch draws, and only one encoding's rows come before them."""
    errors = [table[table.variant == name].set_index("seed")[endpoint] for name in (one, other)]
    encodings = [VARIANTS[name][0] for name in (one, other)]
    first = {name if issubclass(ENCODINGS[name], Learned) else "" for name in encodings}
    random = {Config(setup=setup).random_numbers for setup in table.setup.unique()}
    if paired := len(first) == 1 or random == {"numpy"}:
        errors = [*pd.concat(errors, axis=1, join="inner").to_numpy().T]
    return {"runs": " + ".join(str(len(own)) for own in errors)} | ratio(*errors, paired)


def holm(p: pd.Series) -> np.ndarray:
    """Holm's adjusted p; a test that cannot be made yet, nan, counts as one of them."""
    steps = pd.Series(p).fillna(1).sort_values() * np.arange(len(p), 0, -1)
    adjusted = steps.cummax().clip(upper=1).sort_index()
    return np.where(np.isnan(p), nan, adjusted)


def primary(table: pd.DataFrame, endpoint: str = "at_n") -> pd.DataFrame:
    """The five primary claims; effect: the ratio of errors, of P3 the share of runs that copy and
    err more at k = n - 1 than at n, of P4 the difference of rates, its interval Newcombe's."""
    new = table.query("setup == 'source' and b == 1 and seed not in @PILOT")
    spe, spe_cm, lpe_cm = (new[new.variant == name] for name in ("SPE", "SPE + CM", "LPE + CM"))
    shown = copies(spe.planted) & (spe.before_n > spe.at_n)
    p3 = stats.binomtest(int(shown.sum()), len(shown)).pvalue if len(shown) else nan
    off = [own.take_off.notna() for own in (spe_cm, lpe_cm)]
    (a, a_low, a_high), (b, b_low, b_high) = (rate(own, "wilson") for own in off)
    low, high = a - b - np.hypot(a - a_low, b_high - b), a - b + np.hypot(a_high - a, b - b_low)
    counts = [[own.sum(), (~own).sum()] for own in off]
    p4 = stats.fisher_exact(counts).pvalue if min(map(len, off)) else nan
    rows = [
        ("P1", "Wilcoxon", *compare(new, "LPE + CM", "LPE", endpoint).values()),
        ("P2", "Mann–Whitney", *compare(new, "LPE + CM", "CM", endpoint).values()),
        ("P3", "sign test", f"{len(shown)}", *rate(shown), p3, shown.sum(), len(shown)),
        ("P4", "Fisher", f"{len(off[0])} + {len(off[1])}", a - b, low, high, p4, nan, nan),
        ("P5", "Wilcoxon", *compare(new, "SPE + CM", "CM", endpoint).values()),
    ]
    names = ["claim", "test", "runs", "effect", "low", "high", "p", "wins", "n"]
    return pd.DataFrame(rows, columns=names).assign(holm=lambda result: holm(result.p))
