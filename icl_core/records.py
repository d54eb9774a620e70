"""A run's folder, its lock and its sums: the only code that reads or writes data/.

data/<setup>/<variant>/b<b>-seed<seed>/ is complete or absent, and never written again; SHA256SUMS
tells if it has changed.
"""

import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import filelock
import numpy
import pandas as pd
import safetensors.torch
import torch
from torch import Tensor

from icl_core.config import Config, ConfigError

PROJECT = Path(__file__).resolve().parents[1]
SUMS = "SHA256SUMS"
COLUMNS = {  # of the tables that training writes; without the source's random numbers no checks
    "curves.csv": ["step", "training_loss", "target_error", "mean_iteration_error"],
    "errors.csv": ["loops", "k", "error", "low", "high"],
    "checks.csv": ["step", "error"],
    "tests.csv": ["launch", "std", "error"],
    "probes.csv": ["step", "error", "pair_hidden_layer_1", "pair_hidden", "planted"],
    "attention.csv": ["step", "loop", "layer", "head", "y_to_x", "x_to_y"],
}
CSV = {"index": False, "float_format": "%.9g", "na_rep": "nan", "lineterminator": "\n"}
FILES = {"config.json", "curves.csv", "errors.csv", "weights.safetensors", SUMS}
KEYS = ["setup", "variant", "encoding", "mask", "objective", "b", "seed"]  # tell runs apart
RESTORE = "Take it from git or a copy, or remove the folder by hand to train the run anew"


class RecordError(RuntimeError):
    """A folder or a file is not the run's that was asked for; says which and what to do."""


class HeldError(RuntimeError):
    """Another process is at work on this run; says which, where and since when."""


@dataclass(frozen=True)
class Run:
    """A recorded run: its folder, its config, and what is known of how it was made."""

    folder: Path
    config: Config
    provenance: dict

    key = property(lambda self: (self.config.variant, self.config.b, self.config.seed))

    def table(self, name: str) -> pd.DataFrame:
        """The rows of one of its files, ``curves.csv``; raises RecordError if it has none."""
        return pd.read_csv(self.file(name))

    def tensors(self, name: str) -> dict[str, Tensor]:
        """``weights.safetensors``: one a parameter; ``losses.safetensors``: loss, (steps,)."""
        return safetensors.torch.load_file(self.file(name))

    def file(self, name: str) -> Path:
        """A file's path; raises RecordError unless it is the one that SHA256SUMS tells of."""
        path, expected = self.folder / name, read_sums(self.folder).get(name)
        if not path.is_file() or sha256(path) != expected:
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
    """Where the run keeps its checkpoint while it is trained; its lock lies beside."""
    return root_folder(out) / "build" / "checkpoints" / config.place


def write_whole(path: Path, content: bytes | str) -> None:
    """Writes a file, or, at a kill, a crash or a full disk, leaves what stood there before."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(unfinished, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def sha256(path: Path) -> str:
    """The SHA-256 of a file's content."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_sums(folder: Path, sums: dict[str, str]) -> None:
    """Writes the folder's SHA256SUMS, {file name: SHA-256}, in the format of ``sha256sum -c``."""
    write_whole(folder / SUMS, "".join(f"{sums[name]}  {name}\n" for name in sorted(sums)))


def read_sums(folder: Path) -> dict[str, str]:
    """File name -> SHA-256; raises RecordError unless every line is one of ``sha256sum``."""
    text = (folder / SUMS).read_text(encoding="utf-8", errors="replace")
    if not re.fullmatch(r"([0-9a-f]{64}  [\w.-]+\n)*", text):
        raise RecordError(f"{folder / SUMS} is damaged. {RESTORE}")
    return {line[66:]: line[:64] for line in text.splitlines()}


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Holds the lock at path, which goes with the process; raises HeldError, naming its holder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock, holder = filelock.FileLock(path), path.with_suffix(".holder")
    try:
        lock.acquire(timeout=0.5)  # who only looks holds it for a moment too
    except filelock.Timeout:
        who = holder.read_text(encoding="utf-8") if holder.exists() else "another process"
        told = f"{path.parent.name}/{path.stem} is being trained by {who}. Nothing was touched: "
        raise HeldError(told + "wait, or stop it and run this again, which resumes.") from None
    try:
        now, job = f"{pd.Timestamp.now():%Y-%m-%d %H:%M:%S}", os.environ.get("SLURM_JOB_ID")
        where = f"process {os.getpid()} on {platform.node()} since {now}"
        write_whole(holder, where + (f", SLURM job {job}" if job else ""))
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


def commit() -> str | None:
    """The project's own git commit, -dirty if the working tree differs; else ICL_COMMIT's value."""
    call = ["git", "--git-dir=.git", "describe", "--always", "--dirty", "--abbrev=40"]
    git = subprocess.run(call, cwd=PROJECT, capture_output=True) if shutil.which("git") else None
    return (git and git.stdout.decode().strip()) or os.environ.get("ICL_COMMIT")


def versions() -> dict[str, str]:
    """What the numbers come from: Python and the libraries."""
    modules = {"torch": torch, "numpy": numpy, "pandas": pd, "safetensors": safetensors}
    return {"python": platform.python_version()} | {k: m.__version__ for k, m in modules.items()}


def write_run(out: str, config: Config, made_by: dict, tables: dict, tensors: dict) -> Run:
    """Writes a folder, then gives it the run's name; raises RecordError if that is taken.

    tables: file name -> rows, as in COLUMNS; tensors: file name -> tensors by name.
    """
    folder = run_folder(out, config)
    temporary = folder.with_name(f".{folder.name}.part")  # ours alone: we hold the run's lock
    shutil.rmtree(temporary, ignore_errors=True)  # left by a process that was killed here
    temporary.mkdir(parents=True)
    try:
        text = json.dumps({"config": config.model_dump(mode="json"), **made_by}, indent=2)
        write_whole(temporary / "config.json", text + "\n")
        for name, rows in tables.items():
            write_whole(temporary / name, pd.DataFrame(rows, columns=COLUMNS[name]).to_csv(**CSV))
        for name, own in tensors.items():
            write_whole(temporary / name, safetensors.torch.save(own))
        write_sums(temporary, {path.name: sha256(path) for path in temporary.iterdir()})
        if folder.exists():
            raise RecordError(f"{folder} is recorded already; remove it by hand to train it anew")
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return read_run(folder)


def read_run(folder: Path, config: Config | None = None) -> Run:
    """Reads a run; raises RecordError unless it is complete, undamaged and comparable to config."""
    if missing := sorted(name for name in FILES if not (folder / name).is_file()):
        raise RecordError(f"{folder} is not a complete run: it lacks {', '.join(missing)}")
    try:
        made_by = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        parameters = made_by.pop("config")
        made_by["device"] = parameters["device"]  # where it was trained; read it anywhere
        run = Run(folder, Config(**parameters | {"device": "cpu"}), made_by)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RecordError(f"{folder} cannot be read as a run: {error}") from error
    for name in sorted((FILES | read_sums(folder).keys()) - {SUMS}):
        run.file(name)
    if not folder.resolve().as_posix().endswith(f"/{run.config.place}"):
        raise RecordError(f"{folder} holds the run {run.config.place}")
    theirs, ours = run.config.comparable(), (config or run.config).comparable()
    differing = [f"{k} = {theirs[k]} there, {v} here" for k, v in ours.items() if theirs[k] != v]
    if differing:
        raise RecordError(
            f"{folder} holds a run of another configuration ({'; '.join(differing)}). "
            "Nothing recorded is overwritten: choose another out, or remove that folder by hand."
        )
    return run


def find_run(out: str, config: Config) -> Run | None:
    """The recorded run of this config, or None; RecordError if its place holds another."""
    folder = run_folder(out, config)
    return read_run(folder, config) if folder.exists() else None


def recorded_runs(out: str, configs: Sequence[Config]) -> list[Run]:
    """Every run, at any (b, seed), comparable with one of configs; warns of what it leaves out."""
    runs = []
    for config in configs:
        found = []
        for folder in run_folder(out, config).parent.glob("b*-seed*/"):
            try:
                found.append(read_run(folder, config))
            except RecordError as error:
                warnings.warn(f"left out: {error}", stacklevel=2)
        runs += sorted(found, key=lambda run: (run.config.b, run.config.seed))
    return runs


def tidy(runs: Sequence[Run], name: str) -> pd.DataFrame:
    """A table of several runs, one below the other, with what tells the runs apart in front."""
    keys = [tuple(getattr(run.config, key) for key in KEYS) for run in runs]
    together = pd.concat([run.table(name) for run in runs], keys=keys, names=KEYS)
    return together.reset_index(KEYS).reset_index(drop=True)


def write_measurements(run: Run, name: str, table: pd.DataFrame) -> None:
    """Adds what was measured on a run's weights to its folder, then its line to SHA256SUMS."""
    write_whole(run.folder / name, table.to_csv(**CSV))
    with filelock.FileLock(run.folder.parents[2] / ".lock"):  # two may measure one run at a time
        write_sums(run.folder, read_sums(run.folder) | {name: sha256(run.folder / name)})


def measured(run: Run, name: str, measure: Callable[[Run], pd.DataFrame]) -> pd.DataFrame:
    """The table of that name that was measured on the run's weights, or is now, and added to it."""
    if name not in read_sums(run.folder):
        write_measurements(run, name, measure(run))
    return run.table(name)
