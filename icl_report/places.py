"""Where a run's files are; nothing here reads or writes one."""

from pathlib import Path

from icl_report.config import Config, ConfigError

PROJECT = Path(__file__).resolve().parents[1]


def root_folder(out: str) -> Path:
    """The folder that holds data/, figures/ and report/: out, relative to the project's own."""
    if not isinstance(out, str) or "\0" in out:
        raise ConfigError(f"out = {out!r}: must be the name of a folder, relative to the project's")
    return (PROJECT / out).resolve()


def run_folder(out: str, config: Config) -> Path:
    """Where the run of this config is, or would be."""
    return root_folder(out) / "data" / config.ablation / config.name


def checkpoint_folder(out: str, config: Config) -> Path:
    """Where the stacks of this run keep their checkpoints while it is trained."""
    folder = root_folder(out) / "build" / "checkpoints" / config.ablation
    return folder / f"{config.name}-{config.digest()[:12]}"


def lock_file(out: str, config: Config) -> Path:
    """What the one process that may train a run of this name holds."""
    return checkpoint_folder(out, config).with_name(f"{config.name}.lock")
