"""What the runs to record have come to: python -m icl_report.status grids/records.yaml"""

import argparse
import json
from pathlib import Path

import filelock
import pandas as pd

from icl_core import fill, records
from icl_core.config import Config


def state_of(out: str, config: Config) -> str:
    """recorded, missing, or running or interrupted and the step that its checkpoint is at."""
    if records.run_folder(out, config).exists():
        return "recorded"
    work, step = records.work_folder(out, config), 0
    lock, checkpoint = work.with_suffix(".lock"), work / "checkpoint.safetensors"
    if checkpoint.exists():
        with open(checkpoint, "rb") as file:  # safe_open refuses the checksum at its end
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        step = json.loads(header["__metadata__"]["progress"])["step"]
    try:
        if lock.exists():  # one that is not there is not made
            filelock.FileLock(lock).acquire(timeout=0).lock.release()
        return f"interrupted, step {step} of {config.steps}" if step else "missing"
    except filelock.Timeout:
        return f"running, step {step} of {config.steps}"


def main() -> None:
    """Tells how many runs of each setup and b are recorded, and which are under way."""
    parser = argparse.ArgumentParser(prog="python -m icl_report.status", description=main.__doc__)
    parser.add_argument("list", type=Path, help="a file as grids/records.yaml")
    parser.add_argument("--out", default=".", help="the folder whose data/ holds the records")
    given = parser.parse_args()
    runs = pd.DataFrame({"config": [*fill.listed(given.list)]})
    runs["state"] = [state_of(given.out, config) for config in runs.config]
    groups = [f"{config.setup}, b = {config.b}" for config in runs.config]
    for names in (["all"] * len(runs), groups):
        for group, states in runs.state.groupby(names, sort=False):
            print(f"{group}: {(states == 'recorded').sum()} of {len(states)} recorded")
    for config, state in runs[~runs.state.isin(["recorded", "missing"])].to_numpy():
        print(f"  {config.place}: {state}")


if __name__ == "__main__":
    main()
