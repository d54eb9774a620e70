"""What each run of a grid has come to: python -m icl_report.status grids/full.yaml

Reads config.json of the records, the headers of checkpoints, and the locks; takes and writes
nothing, and does without torch, so that it can be asked often.
"""

import argparse
import json
from collections import Counter
from itertools import product
from pathlib import Path

import safetensors
import yaml
from tabulate import tabulate
from tqdm import tqdm

from icl_report import locks, places
from icl_report.config import ABLATIONS, FUNCTION_CLASSES, Config, ConfigError

MEASURES = "4_lengths_and_loops"  # trains nothing
DEVICES = ("cpu", "cuda", *(f"cuda:{i}" for i in range(16)))  # where a run may be under way


def state_of(out: str, config: Config) -> tuple[str, str]:
    """(done, diverged, running, interrupted, missing or unreadable; what there is to say of it)."""
    record = places.run_folder(out, config) / "config.json"
    lock = places.lock_file(out, config)
    try:
        if record.exists():
            return _recorded(record, config)
        held = locks.is_held(lock)
        progress = _progress(out, config, locks.read(lock))
    except FileNotFoundError:  # recorded, and its checkpoints tidied up, since the first look
        return state_of(out, config)
    except (ValueError, KeyError, TypeError, AttributeError, safetensors.SafetensorError) as error:
        return "unreadable", str(error)
    if held:
        return "running", f"{progress or 'no checkpoint yet'}; {locks.words(locks.read(lock))}"
    return ("interrupted", progress) if progress else ("missing", "")


def _recorded(record: Path, config: Config) -> tuple[str, str]:
    made_by = json.loads(record.read_text(encoding="utf-8"))
    theirs = Config(**made_by["config"] | {"device": "cpu"})
    if theirs.comparable() != config.comparable():
        return "unreadable", "recorded with other parameters"
    diverged = [f"{name} at step {step}" for name, step in made_by["diverged"].items()]
    return ("diverged", ", ".join(diverged)) if diverged else ("done", "")


def _progress(out: str, config: Config, who: dict) -> str:
    """Where the latest stack is, all stacks' speed and the time they need yet; '' at step 0."""
    devices = [config.model_copy(update={"device": device}) for device in DEVICES]
    folders = [places.checkpoint_folder(out, on_device) for on_device in devices]
    files = [path for folder in folders for path in folder.glob("*.safetensors")]
    if not files:
        return ""
    steps = len(who.get("variants", config.variants)) * config.steps
    latest, taken, seconds = "", 0, 0.0
    for path in sorted(files, key=lambda path: path.stat().st_mtime):
        with safetensors.safe_open(path, "np") as file:
            metadata = file.metadata()
        stack, step = json.loads(metadata["stack"]), int(metadata["step"])
        latest = f"{', '.join(stack)}: step {step} of {config.steps}"
        taken, seconds = taken + len(stack) * step, seconds + float(metadata["seconds"])
        if len(json.loads(metadata["diverged"])) == len(stack):
            steps -= len(stack) * (config.steps - step)  # it has ended early
    left = tqdm.format_interval((steps - taken) * seconds / taken)
    speed = f"{taken / seconds:.3g} variant-steps a second" if seconds else "speed unknown"
    return f"{latest}; {taken / steps:.0%} of the run, {speed}, {left} left"


def runs_of(grid: dict) -> list[Config]:
    """Every run that the grid trains, in its order; on a CPU, as the device may not be here."""
    configs = []
    unknown = set(grid["ablations"]) - {*ABLATIONS, MEASURES}
    if unknown:
        raise ConfigError(f"ablations: unknown {sorted(unknown)}; known: {[*ABLATIONS, MEASURES]}")
    for ablation, runs in grid["ablations"].items():
        parameters = grid["parameters"] | runs.get("parameters", {}) | {"device": "cpu"}
        classes = [{}]
        if ablation == "6_function_classes":  # its notebook trains a run a class
            classes = [{"function_class": name} for name in FUNCTION_CLASSES]
        configs += [
            Config(ablation=ablation, b=b, seed=seed, **parameters | of)
            for b, seed, of in product(runs["b"], runs["seeds"], classes)
            if ablation != MEASURES
        ]
    return configs


def main() -> None:
    """Prints a line a run of the grid, then how many there are of each kind."""
    parser = argparse.ArgumentParser(prog="python -m icl_report.status", description=main.__doc__)
    parser.add_argument("grid", type=Path, help="such as grids/full.yaml")
    path = parser.parse_args().grid
    try:
        grid = yaml.safe_load(path.read_text(encoding="utf-8"))
        runs = runs_of(grid)
    except (OSError, ConfigError, yaml.YAMLError) as error:
        parser.error(f"{path}: {error}")
    except KeyError as error:
        parser.error(f"{path}: {error} is missing; grids/full.yaml shows what a grid has")
    states = [state_of(grid["out"], config) for config in runs]
    names = [f"{config.ablation}/{config.name}" for config in runs]
    print(tabulate([(name, *state) for name, state in zip(names, states)], tablefmt="plain"))
    counts = Counter(kind for kind, _ in states)
    print(f"{len(runs)} runs: " + ", ".join(f"{count} {kind}" for kind, count in counts.items()))


if __name__ == "__main__":
    main()
