"""What the runs to record have come to: python -m icl_report.status grids/records.yaml"""

import argparse
import json
from collections import Counter
from itertools import islice
from math import prod
from pathlib import Path

import filelock
import yaml

from icl_core import fill, records
from icl_core.config import Config


def is_held(lock: Path) -> bool:
    """Does a process hold the lock? A lock that is not there is not made."""
    try:
        if lock.exists():
            filelock.FileLock(lock).acquire(timeout=0).lock.release()
        return False
    except filelock.Timeout:
        return True


def step_of(checkpoint: Path) -> int:
    """The step that a checkpoint holds, from its header alone; 0 without a checkpoint."""
    try:
        with open(checkpoint, "rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        return json.loads(header["__metadata__"]["progress"])["step"]
    except FileNotFoundError:
        return 0


def state_of(out: str, config: Config) -> tuple[str, str]:
    """recorded, running, interrupted or missing; the step of a run that has begun."""
    work = records.work_folder(out, config)
    held, step = is_held(work.with_suffix(".lock")), step_of(work / "checkpoint.safetensors")
    if records.run_folder(out, config).exists():
        return "recorded", ""
    state = "running" if held else "interrupted" if step else "missing"
    return state, f"step {step} of {config.steps}" if held or step else ""


def main() -> None:
    """Tells of each block of a list what its runs have come to, and which are under way."""
    parser = argparse.ArgumentParser(prog="python -m icl_report.status", description=main.__doc__)
    parser.add_argument("list", type=Path, help="a file as grids/records.yaml")
    parser.add_argument("--out", default=".", help="the folder whose data/ holds the records")
    given = parser.parse_args()
    runs, total = fill.listed(given.list), Counter()
    for block in yaml.safe_load(given.list.read_text(encoding="utf-8"))["blocks"]:
        axes = [block[name] for name in ("setups", "variants", "b", "seeds")]
        own = list(islice(runs, prod(map(len, axes))))
        states = [state_of(given.out, config) for config in own]
        counts = Counter(state for state, _ in states)
        print("; ".join(", ".join(map(str, axis)) for axis in axes), _words(counts), sep="\n  ")
        for config, (state, at) in zip(own, states):
            if at:
                print(f"    {config.place}: {state}, {at}")
        total += counts
    print("All", _words(total), sep="\n  ")


def _words(counts: Counter) -> str:
    told = ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
    return f"runs: {counts.total()}, of them {told}"


if __name__ == "__main__":
    main()
