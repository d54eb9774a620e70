"""How fast training is on this CPU: python benchmarks/throughput.py

A step with the project's kernel stands beside the same step in plain torch and beside GPT2Model of
transformers, taken in turns in one process, and beside what the core can do at best: the rates of a
1024³ float32 matrix product (MKL) and of a convolution of 1 × 1 (oneDNN). Writes
benchmarks/throughput.md, and benchmarks/growth.csv: how the time of a step grows with b and with
the number of examples.
"""

import platform
import resource
import statistics
import time
from collections.abc import Callable
from datetime import date
from functools import partial
from itertools import pairwise
from pathlib import Path
from unittest import mock

import pandas as pd
import torch
import torch.nn.functional as F
from torch import nn
from transformers import GPT2Config, GPT2Model

from icl_core import evaluation, kernels, sampler
from icl_core.config import Config
from icl_core.initial import initial_model
from icl_core.sampler import Draws
from icl_core.training import adam, update

ROUNDS, WARM_UP = 12, 3
GROWTH_STEPS, GROWTH_WARM_UP = 5, 1
GROWTH = {"b": range(1, 11), "n_examples": (15, 31, 63, 127, 255)}
MEASURED = [(1, "LPE + CM"), (1, "SPE"), (5, "LPE + CM"), (5, "SPE")]
Deed = Callable[[], object]


def step_flops(config: Config) -> float:
    """3 b (2 · matrix weights · tokens + attention): of the plain algorithm, forward and backward.

    Attention is 4 L² width a prompt and layer, half of it under the causal mask.
    """
    weights = config.n_layers * config.width * (4 * config.width + 2 * config.mlp_width)
    attention = 4 * config.n_tokens**2 * config.width * config.n_layers * config.batch_size
    attention *= 0.5 if config.mask == "CM" else 1
    tokens = config.batch_size * config.n_tokens
    return 3 * config.b * (2 * weights * tokens + attention)


def seconds(*deeds: Deed, rounds: int = ROUNDS, warm_up: int = WARM_UP) -> list[float]:
    """The median time of each, taken in turns."""
    times = []
    for _ in range(warm_up + rounds):
        row = [time.perf_counter()]
        for deed in deeds:
            deed()
            row.append(time.perf_counter())
        times.append([after - before for before, after in pairwise(row)])
    return [statistics.median(own) for own in zip(*times[warm_up:])]


def ceilings() -> list[float]:
    """FLOP/s of a 1024³ float32 product: MKL's, and oneDNN's as a convolution of 1 × 1."""
    left, right = torch.randn(2, 1024, 1024)
    image, weight = left.T.reshape(1, 1024, 1, 1024), right.reshape(1024, 1024, 1, 1)
    times = seconds(lambda: left @ right, lambda: F.conv2d(image, weight))
    return [2 * 1024**3 / own for own in times]


def step(config: Config) -> Deed:
    """A training step, the drawing of its prompts included."""
    model, after_weights = initial_model(config)
    draws = Draws(config, after_weights)
    return partial(update, config, model, adam(config, model), draws, 1)


def plain(deed: Deed) -> Deed:
    """The same without the kernel."""
    return mock.patch.object(kernels, "fits", return_value=False)(lambda _: deed())


def peer(config: Config) -> Deed:
    """The step of a GPT2Model of the same size, on the same prompts and loss."""
    sizes = {"n_positions": config.n_tokens, "n_embd": config.width, "n_layer": config.n_layers}
    sizes |= {"n_head": config.n_heads, "n_inner": config.mlp_width}
    gpt2 = GPT2Model(GPT2Config(**sizes, resid_pdrop=0, embd_pdrop=0, attn_pdrop=0))
    read_in, read_out = nn.Linear(config.d, config.width), nn.Linear(config.width, 1)
    parameters = [p for own in (gpt2, read_in, read_out) for p in own.parameters()]
    optimiser = torch.optim.Adam(parameters, lr=config.lr, fused=True)
    draws = Draws(config, torch.Generator())

    def train() -> None:
        tokens, answers = draws.batch(1)
        hidden = gpt2(inputs_embeds=read_in(tokens)).last_hidden_state
        loss = F.mse_loss(read_out(hidden)[:, ::2, 0], answers)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()

    return train


def growth() -> pd.DataFrame:
    """Rows (grows, value, seconds): the median time of a step of LPE + CM, one thing grown."""
    rows = []
    for what, values in GROWTH.items():
        for value in values:
            deed = step(Config(variant="LPE + CM", **{what: value}))
            (own,) = seconds(deed, rounds=GROWTH_STEPS, warm_up=GROWTH_WARM_UP)
            rows.append((what, value, own))
    return pd.DataFrame(rows, columns=["grows", "value", "seconds"])


def measure(b: int, variant: str) -> str:
    """One row of the table."""
    config = Config(variant=variant, b=b)
    deed = step(config)
    ours, theirs = seconds(deed, plain(deed))
    rate = step_flops(config) / ours
    cells = [f"{b}", variant, f"{1e3 * theirs:.0f}", f"{1e3 * ours:.0f}", f"{theirs / ours:.2f}"]
    cells += [f"{rate / 1e9:.0f}", *(f"{rate / best:.2f}" for best in ceilings())]
    return f"| {' | '.join(cells)} |"


def looks() -> float:
    """The share of a run at b = 1 that goes into the error of curves.csv."""
    config = Config(variant="LPE + CM")
    model, prompts = initial_model(config)[0], sampler.evaluation_prompts(config)
    look = partial(evaluation.query_error, model, prompts.first(config.curve_prompts))
    each, own = seconds(step(config), look)
    return own / (own + config.log_every * each)


TEXT = """# Training throughput

Written by `make bench` on {date}, on {machine}, one thread, torch {torch}.
Medians of {rounds} steps, those of a row taken in turns, the drawing of prompts included; setup
source, 64 prompts a step.

| b | variant | plain torch, ms | kernel, ms | ratio | GFLOP/s | of MKL's | of oneDNN's |
|---:|---|---:|---:|---:|---:|---:|---:|
{rows}

GFLOP/s are those of the plain algorithm; the last two columns divide them by what the core reaches
in a 1024³ product, {mkl:.0f} (MKL) and {onednn:.0f} (oneDNN). Memory: {peak:.1f} GiB at most.

Beside GPT2Model of transformers (setup gpt2, LPE + CM, b = 1; the same prompts, loss, optimiser):
{gpt2:.0f} ms a step against {ours:.0f} ms, {ratio:.2f} times as fast. The error of curves.csv takes
{looks:.1%} of a run at b = 1.

On a GPU: [gpu.md](gpu.md). What was tried: [attempts.md](attempts.md).
"""


def main() -> None:
    torch.set_num_threads(1)
    rows = [measure(*own) for own in MEASURED]
    textbook = Config(setup="gpt2", variant="LPE + CM")
    ours, gpt2 = seconds(step(textbook), peer(textbook))
    mkl, onednn = (best / 1e9 for best in ceilings())
    text = TEXT.format(
        date=date.today(),
        machine=f"{platform.machine()} ({torch.backends.cpu.get_cpu_capability()})",
        torch=torch.__version__,
        rounds=ROUNDS,
        rows="\n".join(rows),
        mkl=mkl,
        onednn=onednn,
        peak=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        gpt2=1e3 * gpt2,
        ours=1e3 * ours,
        ratio=gpt2 / ours,
        looks=looks(),
    )
    Path(__file__).with_suffix(".md").write_text(text, encoding="utf-8")
    growth().to_csv(Path(__file__).with_name("growth.csv"), index=False, float_format="%.4g")
    print(text)


if __name__ == "__main__":
    main()
