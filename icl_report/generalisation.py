"""Recorded weights where they were not trained: other lengths, loop iterations, distributions.

Nothing is trained here, and what is measured once is kept beside the run. Every measurement asks
the same queries, so that ratios are paired. A prompt's error is divided by d and by the scale that
its distribution gives to answers, so that the zero predictor scores 1 everywhere.
"""

import copy
from collections.abc import Callable, Sequence
from itertools import product
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F

from icl_report import evaluation, records, sampler, training
from icl_report.config import Config
from icl_report.model import QUERY, LoopedTransformer
from icl_report.sampler import EVALUATION, Prompts, generator

N_PROMPTS = 256
LOOPS = 20
PARTS = (0, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 3 / 4, 5 / 4, 3 / 2, 2, 5 / 2, 3)  # of the prompt
COLUMNS = ["variant", "extension", "prompts", "loops", "k", "error", "low", "high"]
# name -> (scale of x, scale of w, standard deviation of the noise in the examples' answers)
SCALES = {
    "as trained": (1, 1, 0),
    "x / 3": (1 / 3, 1, 0),
    "3 x": (3, 1, 0),
    "skewed x": (1, 1, 0),
    "w / 3": (1, 1 / 3, 0),
    "3 w": (1, 3, 0),
    "noise 0.1": (1, 1, 0.1),
    "noise 0.5": (1, 1, 0.5),
}


def lengths(n_examples: int) -> list[int]:
    """Numbers of examples to try: 0 … 4 n + 3; n, its neighbours and 2 n are among them."""
    fixed = {n_examples - 1, n_examples, n_examples + 1, 4 * n_examples + 3}
    return sorted(fixed | {round(part * n_examples) for part in PARTS})


class Elsewhere(NamedTuple):
    """Prompts of one of SCALES with one query for every number of examples.

    x: (B, K + 1, d), the query last; y: (B, K), the examples' answers; answer: (B,), without noise.
    """

    x: np.ndarray
    y: np.ndarray
    answer: np.ndarray

    def prompts(self, k: int) -> Prompts:
        """The first k examples and the query; the answers to the examples are not asked for."""
        x = np.concatenate([self.x[:, :k], self.x[:, -1:]], axis=1)
        y = np.concatenate([self.y[:, :k], self.answer[:, None]], axis=1)
        return sampler.assemble(x.astype(np.float32), y.astype(np.float32))


def drawn(name: str, n_prompts: int, n_examples: int, d: int) -> Elsewhere:
    """Prompts of one of SCALES, all from the same draws of x, w and noise.

    Noise is in the examples' answers only: the query is asked for wᵀx, so 0 stays the best score.
    """
    x_scale, w_scale, noise = SCALES[name]
    rng = generator(EVALUATION, 1)
    w = w_scale * rng.standard_normal((n_prompts, d))
    x = x_scale * rng.standard_normal((n_prompts, n_examples + 1, d))
    disturbance = noise * rng.standard_normal((n_prompts, n_examples))
    if name == "skewed x":
        x = sampler.skewed(rng, x)
    y = np.einsum("bnd,bd->bn", x, w)
    return Elsewhere(x, y[:, :-1] + disturbance, y[:, -1])


def extended(model: LoopedTransformer, n_tokens: int, how: str) -> LoopedTransformer:
    """A copy whose learned table has n_tokens rows.

    how = "zeros" appends zeros; "interpolated" stretches linearly, the ends staying the ends. The
    model's encoding is the learned one.
    """
    longer = copy.deepcopy(model)
    encoding = longer.encodings["learned"]
    table = encoding.table.detach()
    if how == "zeros":
        table = F.pad(table, (0, 0, 0, n_tokens - table.shape[1]))
    else:
        table = F.interpolate(table.mT, n_tokens, mode="linear", align_corners=True).mT
    encoding.table = torch.nn.Parameter(table)
    return longer


@torch.no_grad()
def iteration_errors(model: LoopedTransformer, prompts: Prompts, loops: int) -> np.ndarray:
    """(V, T, B): the target error after each iteration 1 … loops, from one pass."""
    chunks = [
        (model(tokens, QUERY, loops)[..., 0] - answers[:, -1]).square() / tokens.shape[-1]
        for tokens, answers in zip(*(part.split(evaluation.CHUNK) for part in prompts))
    ]
    return torch.cat(chunks, dim=-1).transpose(0, 1).double().numpy()


def rows(keys: Sequence[tuple], errors: np.ndarray) -> list[tuple]:
    """keys with mean, low and high of errors (len(keys), B) appended; nan where there is none."""
    low, high = evaluation.bootstrap_mean(errors)
    return [(*key, *own) for key, *own in zip(keys, errors.mean(axis=-1), low, high)]


def measure(model: LoopedTransformer, config: Config) -> pd.DataFrame:
    """All measurements of a stack of one variant, as rows of COLUMNS."""
    n_prompts = min(N_PROMPTS, config.evaluation_prompts)
    (variant,), n, table = model.variants, config.n_examples, []
    ks, ends = lengths(n), model.encodings[variant.encoding].ends
    plain = drawn("as trained", n_prompts, max(ks), config.d)
    ways = [("", k, model) for k in ks if k <= n or not ends]
    if variant.encoding == "learned":
        beyond = product(("zeros", "interpolated"), (k for k in ks if k > n))
        ways += [(how, k, extended(model, 2 * k + 1, how)) for how, k in beyond]
    for extension, k, own in ways:
        errors = evaluation.target_errors(own, plain.prompts(k), [k], config.b)[0]
        table += rows([(variant.name, extension, "as trained", config.b, k)], errors)
    iterations = iteration_errors(model, plain.prompts(n), max(LOOPS, 2 * config.b))[0]
    keys = [(variant.name, "", "as trained", t + 1, n) for t in range(len(iterations))]
    table += rows(keys, iterations)
    for name, (x_scale, w_scale, _) in SCALES.items():
        prompts = drawn(name, n_prompts, max(ks), config.d).prompts(n)
        errors = evaluation.target_errors(model, prompts, [n], config.b)[0]
        key = (variant.name, "", name, config.b, n)
        table += rows([key], errors / (x_scale * w_scale) ** 2)
    return pd.DataFrame(table, columns=COLUMNS).drop_duplicates(COLUMNS[:5])


def measured(run: records.Run) -> pd.DataFrame:
    """The measurements of a recorded run: read if they are recorded, else made and recorded."""
    return _once(run, "elsewhere.csv", COLUMNS, lambda model: measure(model, run.config))


def measured_in(runs: Sequence[records.Run]) -> pd.DataFrame:
    """All that measured has of the runs, with b and seed; a variant taken over counts once."""
    tables = [measured(run).assign(b=run.config.b, seed=run.config.seed) for run in runs]
    return pd.concat(tables).drop_duplicates(["b", "seed", *COLUMNS[:5]])


def query_shares(run: records.Run) -> pd.DataFrame:
    """Rows (variant, share), evaluation.query_share on full prompts: read, or made and recorded."""

    def share(model: LoopedTransformer) -> pd.DataFrame:
        prompts = sampler.evaluation_prompts(run.config).first(N_PROMPTS)
        rows = zip((v.name for v in model.variants), evaluation.query_share(model, prompts))
        return pd.DataFrame(rows, columns=["variant", "share"])

    return _once(run, "shares.csv", ["variant", "share"], share)


def prompt_errors(run: records.Run) -> pd.DataFrame:
    """Rows (variant, prompt, error), the target error of each full prompt.

    Read, or made and recorded.
    """
    columns = ["variant", "prompt", "error"]

    def of_each_prompt(model: LoopedTransformer) -> pd.DataFrame:
        prompts = sampler.evaluation_prompts(run.config)
        ((errors,),) = evaluation.target_errors(model, prompts, [run.config.n_examples])
        rows = [(model.variants[0].name, prompt, error) for prompt, error in enumerate(errors)]
        return pd.DataFrame(rows, columns=columns)

    return _once(run, "prompt_errors.csv", columns, of_each_prompt)


def paired_ratios(runs: Sequence[records.Run], pairs: Sequence[tuple[str, str]]) -> pd.DataFrame:
    """Rows (quantity, b, seed, ratio, low, high): one variant's mean error over another's.

    A row a pair and run, each on that run's full prompts; evaluation.bootstrap_ratio's interval.
    """
    tables = {
        (run.config.b, run.config.seed): prompt_errors(run).pivot(
            index="prompt", columns="variant", values="error"
        )
        for run in runs
    }
    rows = [
        (f"E({one}) / E({other})", *at, *evaluation.bootstrap_ratio(*own[[one, other]].values.T))
        for one, other in pairs
        for at, own in tables.items()
    ]
    return pd.DataFrame(rows, columns=["quantity", "b", "seed", "ratio", "low", "high"])


def planted_answers(run: records.Run) -> pd.DataFrame:
    """Rows (variant, before, true, planted), evaluation.planted_errors at the middle example.

    Read, or made and recorded.
    """
    columns = ["variant", "before", "true", "planted"]

    def plant(model: LoopedTransformer) -> pd.DataFrame:
        prompts = sampler.evaluation_prompts(run.config).first(N_PROMPTS)
        errors = evaluation.planted_errors(model, prompts, run.config.n_examples // 2)
        rows = [(v.name, *own) for v, own in zip(model.variants, errors.tolist())]
        return pd.DataFrame(rows, columns=columns)

    return _once(run, "planted.csv", columns, plant)


def copying(runs: Sequence[records.Run]) -> pd.DataFrame:
    """Rows (b, seed, variant, copies): is the error against a planted answer below 0.5 (ours)?

    A prediction that has nothing to do with the planted answer scores 1 or more on average.
    """
    tables = [
        planted_answers(run).assign(
            b=run.config.b, seed=run.config.seed, copies=lambda own: own.planted < 0.5
        )
        for run in runs
    ]
    return pd.concat(tables, ignore_index=True)[["b", "seed", "variant", "copies"]]


def _once(
    run: records.Run,
    name: str,
    columns: list[str],
    deed: Callable[[LoopedTransformer], pd.DataFrame],
) -> pd.DataFrame:
    """The table of that name in the run's folder, made there of its variants one by one."""
    found = records.read_measurements(run, name, columns)
    if found is None:
        with training.one_thread(run.config):
            tables = [
                deed(training.recorded_model(run, (variant,))) for variant in run.config.variants
            ]
        records.write_measurements(run, name, pd.concat(tables))
        found = records.read_measurements(run, name, columns)
    return found
