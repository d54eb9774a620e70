"""A run's folder: the only code that reads or writes data/.

data/<setup>/<variant>/b<b>-seed<seed>/ is complete or absent: it is written under a temporary name
beside its place and renamed. What was recorded is never written again, and SHA256SUMS tells if it
has changed.
"""

import json
import os
import platform
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import filelock
import numpy
import pandas as pd
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from icl_core import kernels
from icl_core.config import Config, ConfigError, folder_name
from icl_core.files import SUMS, read_sums, sha256, sync_folder, write_sums, write_whole

PROJECT = Path(__file__).resolve().parents[1]
COLUMNS = {  # of the tables that training writes; a run of setup gpt2 has no checks and no tests
    "curves.csv": ["step", "training_loss", "target_error", "mean_iteration_error"],
    "errors.csv": ["loops", "k", "error", "low", "high"],
    "checks.csv": ["step", "error"],
    "tests.csv": ["launch", "std", "error"],
    "probes.csv": ["step", "error", "pair_hidden_layer_1", "pair_hidden", "planted"],
    "attention.csv": ["step", "loop", "layer", "head", "y_to_x", "x_to_y"],
}
FILES = ("config.json", "curves.csv", "errors.csv", "weights.safetensors", SUMS)
RESTORE = "Take it from git or a copy, or remove the folder by hand to train the run anew"


class RecordError(RuntimeError):
    """A folder is not the run that was asked for; says which and what to do."""


@dataclass(frozen=True)
class Run:
    """A recorded run: its folder, its config, and what is known of how it was made."""

    folder: Path
    config: Config
    provenance: dict

    def has(self, name: str) -> bool:
        """Whether the run holds a file of that name: one counts from its line in SHA256SUMS on."""
        return name in read_sums(self.folder) and (self.folder / name).exists()

    def table(self, name: str) -> pd.DataFrame:
        """The rows of one of its files, ``curves.csv``; raises RecordError if it has none."""
        table = pd.read_csv(self._checked(name))
        if name in COLUMNS and list(table.columns) != COLUMNS[name]:
            raise RecordError(f"{self.folder / name} is not a table of this version. {RESTORE}")
        return table

    def losses(self) -> Tensor:
        """(steps,): the training loss of every step."""
        return safetensors.torch.load_file(self._checked("losses.safetensors"))["loss"]

    def weights(self) -> dict[str, Tensor]:
        """One tensor a parameter."""
        return safetensors.torch.load_file(self._checked("weights.safetensors"))

    def _checked(self, name: str) -> Path:
        """The file's path; raises RecordError unless it is the one that SHA256SUMS tells of."""
        path = self.folder / name
        if not self.has(name) or sha256(path) != read_sums(self.folder)[name]:
            raise RecordError(f"{path} is not a file that {SUMS} tells of. {RESTORE}")
        return path


def root_folder(out: str) -> Path:
    """The folder that holds data/, figures/ and report/: out, relative to the project's own."""
    if not isinstance(out, str) or not out.strip() or "\0" in out:
        raise ConfigError(f"out = {out!r}: must name a folder, relative to the project's; . is it")
    return (PROJECT / Path(out).expanduser()).resolve()


def run_folder(out: str, config: Config) -> Path:
    """Where the run of this config is, or would be."""
    return root_folder(out) / "data" / config.place


def work_folder(out: str, config: Config) -> Path:
    """Where the run keeps its checkpoint and lock while it is trained."""
    return root_folder(out) / "build" / "checkpoints" / config.place


def commit() -> str | None:
    """The project's git commit, with -dirty where the working tree differs.

    None without git, and where the project is a mere folder in another repository.
    """
    if given := os.environ.get("ICL_COMMIT"):
        return given
    git = ["git", "-C", str(PROJECT)]
    try:
        top = subprocess.run([*git, "rev-parse", "--show-toplevel"], capture_output=True, text=True)
        if not top.stdout.strip() or Path(top.stdout.strip()).resolve() != PROJECT:
            return None
        describe = [*git, "describe", "--always", "--dirty", "--abbrev=40"]
        return subprocess.run(describe, capture_output=True, text=True).stdout.strip() or None
    except OSError:  # no git here
        return None


def versions() -> dict[str, str]:
    """What the numbers come from, kernel and device aside."""
    modules = {"torch": torch, "numpy": numpy, "pandas": pd, "safetensors": safetensors}
    found = {name: module.__version__ for name, module in modules.items()}
    return {"python": platform.python_version(), **found}


def provenance(began_by: str | None, seconds: float, steps: int, diverged: int | None) -> dict:
    """What made a run, how fast, and whether it diverged."""
    return {
        "libraries": versions(),
        "commit": began_by,
        "kernel": kernels.name(),
        "slurm_job_id": os.environ.get("SLURM_JOB_ID"),  # of the job that recorded it
        "wall_seconds": round(seconds, 1),
        "steps_per_second": round(steps / seconds, 2) if seconds else 0.0,
        "diverged": diverged,
    }


def write_run(
    out: str,
    config: Config,
    made_by: dict,
    tables: dict[str, pd.DataFrame],
    tensors: dict[str, dict[str, Tensor]],
) -> Run:
    """Writes the whole folder, then gives it its name; raises RecordError if it is taken.

    tables: file name -> rows, as in COLUMNS; tensors: file name -> tensors by name.
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
            write_whole(temporary / name, _csv(table))
        for name, own in tensors.items():
            write_whole(temporary / name, safetensors.torch.save(own))
        write_sums(temporary, {path.name: sha256(path) for path in temporary.iterdir()})
        temporary.chmod(0o755)  # a temporary folder is its owner's alone
        if folder.exists():
            raise RecordError(f"{folder} is recorded already; remove it by hand to train it anew")
        temporary.rename(folder)
        sync_folder(folder.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return read_run(folder)


def _csv(table: pd.DataFrame) -> str:
    return table.to_csv(index=False, float_format="%.9g", na_rep="nan", lineterminator="\n")


def read_run(folder: Path) -> Run:
    """Reads a run; raises RecordError unless the folder is a complete and undamaged one."""
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        raise RecordError(f"{folder} is not a complete run: it lacks {', '.join(missing)}")
    try:
        sums = read_sums(folder)
        for name in sorted({*FILES, *sums} - {SUMS}):
            if name not in sums:
                raise ValueError(f"{name} has no line in {SUMS}")
            if not (folder / name).is_file() or sha256(folder / name) != sums[name]:
                raise ValueError(f"{name} is not the file that {SUMS} tells of. {RESTORE}")
        made_by = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        parameters = made_by.pop("config")
        made_by["device"] = parameters["device"]  # where it was trained; read it anywhere
        config = Config(**parameters | {"device": "cpu"})
    except (ValueError, KeyError, TypeError, AttributeError, ConfigError) as error:
        raise RecordError(f"{folder} cannot be read as a run: {error}") from error
    if not folder.resolve().as_posix().endswith("/" + config.place):
        raise RecordError(f"{folder} holds the run {config.place}")
    return Run(folder, config, made_by)


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


def recorded_runs(out: str, configs: Sequence[Config]) -> list[Run]:
    """Every complete run, at any (b, seed), comparable with one of configs; by variant, b, seed.

    Warns of what it leaves out.
    """
    runs = []
    for config in configs:
        found = []
        place = root_folder(out) / "data" / config.setup / folder_name(config.variant)
        for folder in place.glob("b*-seed*/"):
            try:
                run = read_run(folder)
            except RecordError as error:
                warnings.warn(f"left out: {error}", stacklevel=2)
                continue
            if run.config.comparable() == config.comparable():
                found.append(run)
            else:
                warnings.warn(f"left out: {folder} has other parameters", stacklevel=2)
        runs += sorted(found, key=lambda run: (run.config.b, run.config.seed))
    return runs


def tidy(runs: Sequence[Run], name: str) -> pd.DataFrame:
    """A table of several runs, one below the other, with what tells the runs apart in front."""
    keys = ["setup", "variant", "encoding", "mask", "objective", "b", "seed"]
    tables = [
        run.table(name).assign(**{key: getattr(run.config, key) for key in keys}) for run in runs
    ]
    together = pd.concat(tables, ignore_index=True)
    return together[[*keys, *together.columns.drop(keys)]]


def write_measurements(run: Run, name: str, table: pd.DataFrame) -> None:
    """Adds what was measured on a run's weights to its folder, then its line to SHA256SUMS."""
    write_whole(run.folder / name, _csv(table))
    lock = root_folder(".") / "build" / "sums.lock"  # two notebooks may measure one run at a time
    lock.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(lock):
        write_sums(run.folder, read_sums(run.folder) | {name: sha256(run.folder / name)})
