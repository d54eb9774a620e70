"""How fast training is on this CPU, against its own matrix product: python benchmarks/throughput.py

Utilisation is the FLOPs of the plain algorithm over the time taken, divided by the rate of a 1024³
float32 matrix product on one thread, measured in the same process around every timing. The plain
algorithm beside it computes every token of every block, uses the default Adam and reads the loss
at every step. Writes benchmarks/throughput.md, and benchmarks/growth.csv: how the time of a step
grows with b, with the number of examples and with the size of the stack.
"""

import platform
import resource
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pandas as pd
import torch

from icl_report.config import VARIANTS, Config, Variant
from icl_report.model import ALL, X_TOKENS, LoopedTransformer
from icl_report.sampler import batch
from icl_report.training import adam, training_loss, update

STEPS, WARM_UP = 12, 3
GROWTH_STEPS, GROWTH_WARM_UP = 5, 1
GROWTH = {"b": range(1, 11), "n_examples": (15, 31, 63, 127, 255), "stack": range(1, 13)}


def step_flops(config: Config, variant: Variant) -> float:
    """3 b (2 · matrix weights · tokens + attention): of the plain algorithm, forward and backward.

    Attention is 4 L² width a prompt and layer, half of it under the causal mask.
    """
    weights = config.n_layers * config.width * (4 * config.width + 2 * config.mlp_width)
    attention = 4 * config.n_tokens**2 * config.width * config.n_layers * config.batch_size
    attention *= 0.5 if variant.mask == "causal" else 1
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


def recorded(config: Config, variant: Variant) -> Callable[[], object]:
    """A step as the recorded runs take it."""
    model = LoopedTransformer(config, (variant,))
    optimiser = adam(config, model)
    return lambda: update(config, model, optimiser, 0)


def plain(config: Config, variant: Variant) -> Callable[[], object]:
    """The same step with nothing left out."""
    model = LoopedTransformer(config, (variant,))
    optimiser = torch.optim.Adam(model.parameters(), lr=config.lr)

    def step():
        tokens, answers = batch(config, 0)
        loss = training_loss(model(tokens, ALL)[..., X_TOKENS], answers)
        optimiser.zero_grad()
        loss.sum().backward()
        optimiser.step()
        return loss.item()

    return step


def growth() -> pd.DataFrame:
    """Rows (grows, value, seconds): the median time of a step of LPE + CM, one thing grown."""
    rows = []
    for what, values in GROWTH.items():
        for value in values:
            size = value if what == "stack" else 1
            config = Config() if what == "stack" else Config(**{what: value})
            model = LoopedTransformer(config, (VARIANTS["LPE + CM"],) * size)
            step = partial(update, config, model, adam(config, model), 0)
            seconds(step, GROWTH_WARM_UP)
            rows.append((what, value, seconds(step, GROWTH_STEPS)))
    return pd.DataFrame(rows, columns=["grows", "value", "seconds"])


def measure(b: int, name: str, kind: Callable) -> str:
    """One row of the table."""
    config, variant = Config(b=b), VARIANTS[name]
    step = kind(config, variant)
    seconds(step, WARM_UP)
    before, time_taken, after = ceiling(), seconds(step, STEPS), ceiling()
    rate, best = step_flops(config, variant) / time_taken, (before + after) / 2
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    cells = [f"{b}", name, kind.__name__, f"{1 / time_taken:.2f}", f"{rate / 1e9:.1f}"]
    cells += [f"{best / 1e9:.1f}", f"{rate / best:.2f}", f"{memory:.2f}"]
    return f"| {' | '.join(cells)} |"


HEADER = """# Training throughput

Written by `make bench` on {machine}, one thread, torch {torch}. Medians of {steps} steps;
`throughput.py` defines utilisation and the plain path. Peak memory is that of the process so far.
What was tried to reach the target of 0.60 is in [attempts.md](attempts.md). This is the CPU alone:
no GPU could be had, so nothing is measured on one, and the targets for it are open.

| b | variant | path | variant-steps / s | GFLOP/s | matrix product | utilisation | peak, GiB |
|---:|---|---|---:|---:|---:|---:|---:|
"""


def main() -> None:
    torch.set_num_threads(1)
    machine = f"{platform.machine()} ({torch.backends.cpu.get_cpu_capability()})"
    rows = [
        measure(b, name, kind)
        for b in (1, 5)
        for name in ("LPE + CM", "SPE")
        for kind in (plain, recorded)
    ]
    text = HEADER.format(machine=machine, torch=torch.__version__, steps=STEPS)
    text += "\n".join(rows) + "\n"
    Path(__file__).with_suffix(".md").write_text(text, encoding="utf-8")
    growth().to_csv(Path(__file__).with_name("growth.csv"), index=False, float_format="%.4g")
    print(text)


if __name__ == "__main__":
    main()
