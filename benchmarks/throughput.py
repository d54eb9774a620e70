"""How fast training is on this CPU, against its own matrix product: python benchmarks/throughput.py

Utilisation is the FLOPs of the plain algorithm over the time taken, divided by the rate of a 1024³
float32 matrix product on one thread, measured in the same process around every timing. The plain
path beside the recorded one does without the project's own kernel (ICL_KERNEL=0). Writes
benchmarks/throughput.md, and benchmarks/growth.csv: how the time of a step grows with b and with
the number of examples.
"""

import os
import platform
import resource
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pandas as pd
import torch

from icl_core import kernels
from icl_core.config import Config
from icl_core.initial import initial_model
from icl_core.sampler import Draws
from icl_core.training import adam, update

STEPS, WARM_UP = 12, 3
GROWTH_STEPS, GROWTH_WARM_UP = 5, 1
GROWTH = {"b": range(1, 11), "n_examples": (15, 31, 63, 127, 255)}


def step_flops(config: Config) -> float:
    """3 b (2 · matrix weights · tokens + attention): of the plain algorithm, forward and backward.

    Attention is 4 L² width a prompt and layer, half of it under the causal mask.
    """
    weights = config.n_layers * config.width * (4 * config.width + 2 * config.mlp_width)
    attention = 4 * config.n_tokens**2 * config.width * config.n_layers * config.batch_size
    attention *= 0.5 if config.mask == "CM" else 1
    tokens = config.batch_size * config.n_tokens
    return 3 * config.b * (2 * weights * tokens + attention)


def seconds(deed: Callable[[], object], repeats: int) -> float:
    """The median time of a deed."""
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        deed()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def ceiling() -> float:
    """FLOP/s of a 1024³ float32 matrix product."""
    left, right = torch.randn(2, 1024, 1024)
    seconds(lambda: left @ right, 3)
    return 2 * 1024**3 / seconds(lambda: left @ right, 10)


def step(config: Config) -> Callable[[], object]:
    """A training step, the drawing of its prompts included."""
    model, after_weights = initial_model(config)
    draws = Draws(config, after_weights)
    return partial(update, config, model, adam(config, model), draws, 1)


def choose(path: str) -> None:
    """From here on steps are taken as in the recorded runs, or without the kernel: "plain"."""
    os.environ["ICL_KERNEL"] = "0" if path == "plain" else "1"
    kernels._library.cache_clear()


def growth() -> pd.DataFrame:
    """Rows (grows, value, seconds): the median time of a step of LPE + CM, one thing grown."""
    rows = []
    for what, values in GROWTH.items():
        for value in values:
            deed = step(Config(variant="LPE + CM", **{what: value}))
            seconds(deed, GROWTH_WARM_UP)
            rows.append((what, value, seconds(deed, GROWTH_STEPS)))
    return pd.DataFrame(rows, columns=["grows", "value", "seconds"])


def measure(b: int, variant: str, path: str) -> str:
    """One row of the table."""
    choose(path)
    config = Config(variant=variant, b=b)
    deed = step(config)
    seconds(deed, WARM_UP)
    before, time_taken, after = ceiling(), seconds(deed, STEPS), ceiling()
    rate, best = step_flops(config) / time_taken, (before + after) / 2
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    cells = [f"{b}", variant, path, f"{1 / time_taken:.2f}", f"{rate / 1e9:.1f}"]
    cells += [f"{best / 1e9:.1f}", f"{rate / best:.2f}", f"{memory:.2f}"]
    return f"| {' | '.join(cells)} |"


HEADER = """# Training throughput

Written by `make bench` on {machine}, one thread, torch {torch}. Medians of {steps} steps;
`throughput.py` defines utilisation and the plain path. Peak memory is that of the process so far.
What was tried to reach the target of 0.60 is in [attempts.md](attempts.md). This is the CPU alone:
no GPU could be had, so nothing is measured on one, and the targets for it are open.

| b | variant | path | steps / s | GFLOP/s | matrix product | utilisation | peak, GiB |
|---:|---|---|---:|---:|---:|---:|---:|
"""


def main() -> None:
    torch.set_num_threads(1)
    machine = f"{platform.machine()} ({torch.backends.cpu.get_cpu_capability()})"
    rows = [
        measure(b, variant, path)
        for b in (1, 5)
        for variant in ("LPE + CM", "SPE")
        for path in ("plain", "recorded")
    ]
    text = HEADER.format(machine=machine, torch=torch.__version__, steps=STEPS)
    text += "\n".join(rows) + "\n"
    Path(__file__).with_suffix(".md").write_text(text, encoding="utf-8")
    growth().to_csv(Path(__file__).with_name("growth.csv"), index=False, float_format="%.4g")
    print(text)


if __name__ == "__main__":
    main()
