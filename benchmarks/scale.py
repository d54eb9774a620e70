"""How a grid of 10, 1 000 and 100 000 runs behaves: python benchmarks/scale.py

The runs are copies of a recorded one with other seeds, in a temporary folder; their files are hard
links to one copy. What is measured, and at which two sizes, stands in MEASURED; any other size is
the straight line through both. Writes benchmarks/scale.md.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import yaml

from icl_core import records
from icl_core.config import Config

CONFIG = Config()
RECORDED = records.run_folder(".", CONFIG)
SIZES = (10, 1_000, 100_000)
MEASURED = {  # what -> the two sizes that it is measured at
    "planning": (10, 1000),
    "reading all records": (10, 1000),
}

TEXT = """# How a grid grows

Written by `benchmarks/scale.py` on {cores} cores with {load:.1f} processes at work on average; on
an idle machine seconds are fewer. The runs are copies of one recorded run with other seeds.
Each row is measured at two sizes, and the rest is the straight line through them.

{table}

A run leaves {files} files, {megabytes:.1f} MB in all; {most:,} of them would
take {terabytes:.2f} TB.
"""


def copy_runs(data: Path, size: int) -> None:
    """Fills data with so many copies of the recorded run; all but the config is shared."""
    variant = data / Path(CONFIG.place).parent
    first = shutil.copytree(RECORDED, variant / "b1-seed0")
    made_by = json.loads((RECORDED / "config.json").read_text(encoding="utf-8"))
    sums = records.read_sums(RECORDED)
    for seed in range(size):
        copy = variant / f"b1-seed{seed}"
        if seed:
            shutil.copytree(first, copy, copy_function=os.link)
        made_by["config"]["seed"] = seed
        records.write_whole(copy / "config.json", json.dumps(made_by))
        records.write_sums(copy, sums | {"config.json": records.sha256(copy / "config.json")})


def seconds(deed: Callable[[], object]) -> float:
    """The time of a deed."""
    began = time.perf_counter()
    deed()
    return time.perf_counter() - began


def rounded(value: float) -> str:
    """Two digits: 7.5, 130, 4,800."""
    return f"{float(f'{value:.2g}'):,g}"


def snakemake(grid: Path, target: str, *options: str) -> None:
    """Runs Snakemake on a grid; raises CalledProcessError if that fails."""
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--configfile", grid]
    command += ["--quiet", "all", *options, "--", target]
    subprocess.run(command, cwd=records.PROJECT, check=True, stdout=subprocess.DEVNULL)


def measure(size: int) -> dict[str, float]:
    """What -> seconds, for a grid of so many runs: each row of MEASURED that names the size."""
    with tempfile.TemporaryDirectory() as folder:
        out, grid = Path(folder) / "out", Path(folder) / "grid.yaml"
        runs = {"setups": [CONFIG.setup], "b": [1], "seeds": list(range(size))}
        content = {"out": str(out), "notebooks": {"1_position_and_mask": runs}}
        grid.write_text(yaml.safe_dump(content), encoding="utf-8")
        copy_runs(out / "data", size)
        planning, reading = MEASURED
        times = {
            planning: seconds(lambda: snakemake(grid, "grid", "--dry-run")),
            reading: seconds(lambda: records.recorded_runs(str(out), [CONFIG])),
        }
    print(f"{size} runs:", times, flush=True)
    return times


def main() -> None:
    measured = {size: measure(size) for size in sorted(set().union(*MEASURED.values()))}
    rows = []
    for what, (small, large) in MEASURED.items():
        fewer, more = measured[small][what], measured[large][what]
        line = [fewer + (more - fewer) * (size - small) / (large - small) for size in SIZES]
        rows.append([what, f"{small:,} and {large:,}", *(rounded(value) for value in line)])
    columns = ["seconds of", "measured at", *(f"{size:,} runs" for size in SIZES)]
    kept = [path.stat().st_size for path in RECORDED.iterdir()]
    text = TEXT.format(
        table=pd.DataFrame(rows, columns=columns).to_markdown(
            index=False, colalign=("left", "left", "right", "right", "right"), disable_numparse=True
        ),
        most=SIZES[-1],
        cores=os.cpu_count(),
        load=os.getloadavg()[2],
        files=len(kept),
        megabytes=sum(kept) / 1e6,
        terabytes=SIZES[-1] * sum(kept) / 1e12,
    )
    Path(__file__).with_suffix(".md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
