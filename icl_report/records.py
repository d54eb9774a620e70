"""A run's folder: the only code that reads or writes data/.

<root>/data/<ablation>/b<b>-seed<seed>/ is complete or absent: it is written under a temporary
name beside its place and renamed. What was recorded is never written again, and SHA256SUMS tells
if it has changed.
"""

import json
import os
import platform
import re
import shutil
import subprocess
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy
import pandas as pd
import safetensors
import safetensors.torch
import torch
import yaml
from torch import Tensor

from icl_report import locks
from icl_report.config import ABLATIONS, Config, ConfigError
from icl_report.files import SUMS, read_sums, sha256, sync_folder, write_sums, write_whole
from icl_report.places import PROJECT, root_folder, run_folder

COLUMNS = {
    "curves.csv": ["variant", "step", "training_loss", "target_error"],
    "errors.csv": ["variant", "loops", "k", "error", "low", "high"],
    "leak.csv": ["variant", "step", "loop", "layer", "head", "weight"],
}
LATER = ("leak.csv",)  # the first run was recorded without it
RESTORE = "Take it from git or a copy, or remove the folder by hand to train the run anew"
FILES = ("config.json", "curves.csv", "errors.csv", "weights.safetensors", SUMS)


class RecordError(RuntimeError):
    """A folder is not the run that was asked for; says which and what to do."""


@dataclass(frozen=True)
class Run:
    """A recorded run: its config, what is known of how it was made, and its tables."""

    folder: Path
    config: Config
    provenance: dict
    curves: pd.DataFrame
    errors: pd.DataFrame
    leak: pd.DataFrame  # empty where the run was recorded without it

    def weights(self) -> dict[str, Tensor]:
        """One tensor a parameter, with a leading axis over the variants that have it."""
        path = self.folder / "weights.safetensors"
        try:
            return safetensors.torch.load_file(path)
        except safetensors.SafetensorError as error:
            raise RecordError(f"{path} holds no weights: {error}. {RESTORE}") from error


def commit() -> str | None:
    """The project's git commit, with -dirty where the working tree differs; None without git."""
    git = ["git", "-C", str(PROJECT), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        return subprocess.run(git, capture_output=True, text=True).stdout.strip() or None
    except OSError:  # no git here
        return None


def provenance(
    variant_steps: int,
    seconds: float,
    commit: str | None,
    diverged: dict[str, int],
    taken_over: dict[str, str],
) -> dict:
    """What made the run: libraries, commit, SLURM job, wall time, speed; variants that diverged,
    by step; variants that were taken over from another ablation, by run.

    variant_steps were taken in those seconds: fewer than planned where a stack diverged and ended.
    """
    modules = {"torch": torch, "numpy": numpy, "pandas": pd, "safetensors": safetensors}
    versions = {name: module.__version__ for name, module in modules.items()}
    return {
        "libraries": {"python": platform.python_version(), **versions},
        "commit": commit,
        "slurm_job_id": os.environ.get("SLURM_JOB_ID"),  # of the job that recorded it
        "wall_seconds": round(seconds, 1),
        "variant_steps_per_second": round(variant_steps / seconds, 2) if seconds else 0.0,
        "diverged": diverged,
        "taken_over": taken_over,
    }


def write_run(
    out: str,
    config: Config,
    made_by: dict,
    tables: dict[str, pd.DataFrame],
    weights: dict[str, Tensor],
) -> Run:
    """Writes the whole folder, then gives it its name; raises RecordError if it is taken.

    tables: file name -> rows, as in COLUMNS.
    """
    folder = run_folder(out, config)
    folder.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{folder.name}."
    for left in folder.parent.glob(f"{prefix}*"):  # by a process that was killed here: the
        shutil.rmtree(left, ignore_errors=True)  # training one holds the run's lock
    temporary = Path(tempfile.mkdtemp(prefix=prefix, dir=folder.parent))
    try:
        text = json.dumps({"config": config.model_dump(mode="json"), **made_by}, indent=2)
        write_whole(temporary / "config.json", text + "\n")
        for name, table in tables.items():
            rows = table[COLUMNS[name]].to_csv(index=False, float_format="%.9g")
            write_whole(temporary / name, rows)
        write_whole(temporary / "weights.safetensors", safetensors.torch.save(weights))
        write_sums(temporary, {path.name: sha256(path) for path in temporary.iterdir()})
        temporary.chmod(0o755)  # a temporary folder is its owner's alone
        if folder.exists():
            raise RecordError(f"{folder} is recorded already; remove it by hand to train it anew")
        temporary.rename(folder)
        sync_folder(folder.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return read_run(folder)


def read_run(folder: Path) -> Run:
    """Reads a run; raises RecordError unless the folder is a complete and undamaged one."""
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        raise RecordError(f"{folder} is not a complete run: it lacks {', '.join(missing)}")
    try:
        _check_sums(folder)
        made_by = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        parameters = made_by.pop("config")
        made_by["device"] = parameters["device"]  # where it was trained; read it anywhere
        config = Config(**parameters | {"device": "cpu"})
        tables = {name: _read_table(folder / name) for name in COLUMNS}
    except (ValueError, KeyError, TypeError, AttributeError, ConfigError) as error:
        raise RecordError(f"{folder} cannot be read as a run: {error}") from error
    for name, table in tables.items():
        theirs, ours = set(table.variant), set(config.variants)
        known = theirs <= ours if name in LATER else theirs == ours
        if list(table.columns) != COLUMNS[name] or not known:
            raise RecordError(f"{folder / name} does not belong to {folder / 'config.json'}")
    if (folder.parent.name, folder.name) != (config.ablation, config.name):
        raise RecordError(f"{folder} holds the run {config.ablation}/{config.name}")
    return Run(folder, config, made_by, *tables.values())


def _check_sums(folder: Path) -> None:
    """Raises ValueError unless every file of the run is the one that SHA256SUMS tells of."""
    sums = read_sums(folder)
    names = {name for name in LATER if name in sums or (folder / name).exists()}
    for name in sorted(names | {*FILES} - {SUMS}):
        if name not in sums:
            raise ValueError(f"{name} has no line in {SUMS}")
        if not (folder / name).is_file() or sha256(folder / name) != sums[name]:
            raise ValueError(f"{name} is not the file that {SUMS} tells of. {RESTORE}")


def _read_table(path: Path) -> pd.DataFrame:
    if path.name in LATER and not path.exists():
        return pd.DataFrame(columns=COLUMNS[path.name])
    return pd.read_csv(path)


def find_run(out: str, config: Config) -> Run | None:
    """The recorded run of this config, or None; RecordError if its place holds another."""
    folder = run_folder(out, config)
    if not folder.exists():
        return None
    run = read_run(folder)
    theirs, ours = run.config.comparable(), config.comparable()
    differing = [
        f"{key} = {theirs[key]} there, {ours[key]} here" for key in ours if theirs[key] != ours[key]
    ]
    if differing:
        raise RecordError(
            f"{folder} holds a run of another configuration ({'; '.join(differing)}). "
            "Nothing recorded is overwritten: choose another out, or remove that folder by hand."
        )
    return run


def taken_over(out: str, config: Config) -> dict[str, Run]:
    """The variants of config that another ablation has trained with the same parameters."""
    found = {}
    for ablation in ABLATIONS:
        other = config.model_copy(update={"ablation": ablation, "variants": ABLATIONS[ablation]})
        folder = run_folder(out, other)
        if ablation == config.ablation or not folder.exists():
            continue
        try:
            run = read_run(folder)
        except RecordError as error:
            warnings.warn(f"nothing taken over: {error}", stacklevel=2)
            continue
        own = set(run.config.variants) - set(run.provenance.get("taken_over", ()))
        if run.config.comparable() == other.comparable():
            found = {name: run for name in config.variants if name in own} | found
    return found


def read_measurements(run: Run, name: str, columns: list[str]) -> pd.DataFrame | None:
    """A table measured on a run's weights; None if there is none, or a kill came between.

    name: the file's, in the run's folder. The table counts from its line in SHA256SUMS on. Raises
    RecordError if it is not that table.
    """
    path = run.folder / name
    expected = read_sums(run.folder).get(name)
    if expected is None or not path.exists():
        return None
    if sha256(path) != expected:
        raise RecordError(f"{path} is not the file that {SUMS} tells of; remove it to measure anew")
    table = pd.read_csv(path, keep_default_na=False, na_values=["nan"])
    if list(table.columns) != columns or set(table.variant) != set(run.config.variants):
        raise RecordError(f"{path} is not a complete table of measurements; remove it")
    return table


def write_measurements(run: Run, name: str, table: pd.DataFrame) -> None:
    """Adds what was measured on a run's weights to its folder, then its line to SHA256SUMS."""
    write_whole(run.folder / name, table.to_csv(index=False, float_format="%.9g", na_rep="nan"))
    with locks.in_turn(run.folder):  # two notebooks may measure one run at a time
        write_sums(run.folder, read_sums(run.folder) | {name: sha256(run.folder / name)})


def recorded_runs(out: str, config: Config) -> list[Run]:
    """Every complete run comparable with config, by b and seed; warns of what it leaves out."""
    runs = []
    ours = re.compile(re.sub(r"^b\d+-seed\d+", r"b\\d+-seed\\d+", config.name))
    for folder in sorted((root_folder(out) / "data" / config.ablation).glob("[!.]*/")):
        if re.fullmatch(r"b\d+-seed\d+(-\w+)?", folder.name) and not ours.fullmatch(folder.name):
            continue  # of another function class
        try:
            run = read_run(folder)
        except RecordError as error:
            warnings.warn(f"left out: {error}", stacklevel=2)
            continue
        if run.config.comparable() == config.comparable():
            runs.append(run)
        else:
            warnings.warn(f"left out: {folder.name} has other parameters", stacklevel=2)
    return sorted(runs, key=lambda run: (run.config.b, run.config.seed))


def planned_runs(out: str, ablation: str) -> list[tuple[int, int]]:
    """(b, seed) of every run that the grid which writes to out asks for; [] if there is none."""
    for path in sorted((PROJECT / "grids").glob("*.yaml")):
        grid = yaml.safe_load(path.read_text(encoding="utf-8"))
        if root_folder(grid["out"]) == root_folder(out) and ablation in grid["ablations"]:
            runs = grid["ablations"][ablation]
            return [(b, seed) for b in runs["b"] for seed in runs["seeds"]]
    return []


def tidy(runs: list[Run], table: str) -> pd.DataFrame:
    """The runs' curves or errors one below the other, with columns b and seed in front."""
    tables = [getattr(run, table).assign(b=run.config.b, seed=run.config.seed) for run in runs]
    together = pd.concat(tables, ignore_index=True)
    return together[["b", "seed", *together.columns.drop(["b", "seed"])]]
