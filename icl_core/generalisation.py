"""Recorded weights where they were not trained: other lengths, loop iterations, distributions.

Nothing is trained here. A prompt's error is divided by d and by the scale that its distribution
gives to answers, so that the zero predictor scores 1 everywhere.
"""

import copy
from collections.abc import Sequence
from itertools import product

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F

from icl_core import evaluation, records, sampler, training
from icl_core.config import Config
from icl_core.model import QUERY, LoopedTransformer, variant_weights
from icl_core.sampler import EVALUATION, Prompts, generator

N_PROMPTS = 256
LOOPS = 20
LENGTHS = (0, 1, 2, 4, 8, 16, 24, 32, 48, 80, 96, 128, 160, 192, 224, 255)
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
    """Numbers of examples to try, up to four times the trained prompt: 0 … 255 at 63."""
    nearby = {n_examples - 1, n_examples, n_examples + 1}
    return sorted(nearby | {k for k in LENGTHS if k < 4 * (n_examples + 1)})


def prompts_of(name: str, n_prompts: int, n_examples: int, d: int) -> Prompts:
    """Prompts of one of SCALES, all from the same draws of x, w and noise.

    Noise is in the examples' answers only: the query is asked for wᵀx, so 0 stays the best score.
    """
    x_scale, w_scale, noise = SCALES[name]
    rng = generator(EVALUATION, 1)
    w = w_scale * rng.standard_normal((n_prompts, d), dtype=np.float32)
    x = x_scale * rng.standard_normal((n_prompts, n_examples + 1, d), dtype=np.float32)
    disturbance = noise * rng.standard_normal((n_prompts, n_examples + 1), dtype=np.float32)
    if name == "skewed x":
        x = sampler.skewed(rng, x)
    clean = np.einsum("bnd,bd->bn", x, w)
    tokens = sampler.assemble(x.astype(np.float32), (clean + disturbance).astype(np.float32)).tokens
    return Prompts(tokens, torch.from_numpy(clean.astype(np.float32)))


def extended(model: LoopedTransformer, n_tokens: int, how: str) -> LoopedTransformer:
    """A copy whose learned table has n_tokens rows.

    how = "zeros" appends zeros; "interpolated" stretches linearly, the ends staying the ends.
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
        for tokens, answers in zip(prompts.tokens.split(64), prompts.answers.split(64))
    ]
    return torch.cat(chunks, dim=-1).transpose(0, 1).double().numpy()


def rows(keys: Sequence[tuple], errors: np.ndarray) -> list[tuple]:
    """keys with mean, low and high of errors (len(keys), B) appended; nan where there is none."""
    low, high = evaluation.bootstrap_mean(errors)
    return [(*key, *own) for key, *own in zip(keys, errors.mean(axis=-1), low, high)]


def measure(model: LoopedTransformer, config: Config, n_prompts: int = N_PROMPTS) -> pd.DataFrame:
    """All measurements of a stack of one variant, as rows of COLUMNS."""
    (variant,), n, table = model.variants, config.n_examples, []
    ends = variant.encoding in ("learned", "pairs", "pairs and types")  # with its table
    ks = lengths(n)
    long = prompts_of("as trained", n_prompts, max(ks), config.d)
    ways = [("", model, [k for k in ks if k <= n] if ends else ks)]
    if variant.encoding == "learned":
        for how, k in product(("zeros", "interpolated"), (k for k in ks if k > n)):
            ways.append((how, extended(model, 2 * k + 1, how), [k]))
    for extension, own, reach in ways:
        errors = evaluation.target_errors(own, long.cut(max(reach)), reach)[0]
        table += rows([(variant.name, extension, "as trained", config.b, k) for k in reach], errors)
    for name, (x_scale, w_scale, _) in SCALES.items():
        prompts = prompts_of(name, n_prompts, max(ks), config.d).cut(n)
        loops = max(LOOPS, config.b) if name == "as trained" else config.b
        errors = iteration_errors(model, prompts, loops)[0] / (x_scale * w_scale) ** 2
        keys = [(variant.name, "", name, t + 1, n) for t in range(loops)]
        wanted = range(loops) if name == "as trained" else [config.b - 1]
        table += rows([keys[t] for t in wanted], errors[wanted])
    return pd.DataFrame(table, columns=COLUMNS).drop_duplicates(COLUMNS[:5])


def measured(out: str, run: records.Run) -> pd.DataFrame:
    """The measurements of a recorded run: read if they are recorded, else made and recorded."""
    found = records.read_measurements(out, run.config, COLUMNS)
    if found is not None:
        return found
    tables = []
    weights = run.weights()
    with training.one_thread(run.config):
        for i, variant in enumerate(run.config.stack):
            model = LoopedTransformer(run.config, (variant,))
            model.load_state_dict(variant_weights(weights, run.config.stack, i))
            tables.append(measure(model, run.config))
    return records.write_measurements(out, run.config, pd.concat(tables))
