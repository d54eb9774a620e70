"""How fast the step is on a GPU, eager and captured, one to eight runs side by side: two minutes.

python benchmarks/gpu.py OUT.csv [DEVICE]: steps a second of all runs, which draw their own batches.
"""

import os
import sys
import time
from itertools import product
from multiprocessing import get_context

import pandas as pd
import torch

from icl_core import captured, sampler, training
from icl_core.config import Config
from icl_core.initial import initial_model

WARM_UP, SECONDS, PROCESSES = 20, 3, (1, 2, 4, 8)
CASES = list(product((1, 5), ("eager", "captured"), PROCESSES))


def steps_a_second(b: int, device: str, barrier) -> float:
    """Of one run, from when all have warmed up; what was launched is done by the end."""
    config = Config(variant="LPE + CM", b=b, steps=1_000_000, probe_every=1_000_000, device=device)
    model, after_weights = initial_model(config)
    draws, optimiser = sampler.Draws(config, after_weights), training.adam(config, model)
    draws, take = captured.for_device(draws, training.update, training.descend)
    for step in range(WARM_UP):
        take(config, model, optimiser, draws, step).item()
    barrier.wait()
    began, last = time.perf_counter(), WARM_UP
    while time.perf_counter() < began + SECONDS:
        loss = take(config, model, optimiser, draws, last)
        last += 1
    loss.item()
    return (last - WARM_UP) / (time.perf_counter() - began)


def work(rank: int, device: str, barriers: dict, everybody, rates) -> None:
    """One of eight processes: its part in each case."""
    torch.set_num_threads(1)
    for b, path, n in CASES:
        os.environ["ICL_CAPTURE"] = "1" if path == "captured" else "0"
        if rank < n:
            rates.put((b, path, n, steps_a_second(b, device, barriers[n])))
        everybody.wait()


if __name__ == "__main__":
    context, device = get_context("spawn"), [*sys.argv, "cuda"][2]
    barriers, rates = {n: context.Barrier(n) for n in PROCESSES}, context.Queue()
    common = device, barriers, context.Barrier(max(PROCESSES)), rates
    for rank in range(max(PROCESSES)):
        context.Process(target=work, args=(rank, *common), daemon=True).start()
    rows = [rates.get(timeout=300) for case in CASES for _ in range(case[-1])]
    table = pd.DataFrame(rows, columns=["b", "path", "processes", "steps_a_second"])
    table.groupby(["b", "path", "processes"]).sum().round(1).to_csv(sys.argv[1])
