"""One process a run: a lock of the operating system's, which goes when its process does."""

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import filelock

from icl_core.files import write_whole

ADVICE = "Nothing was touched: wait for it, or stop it and run this again, which will resume."


class HeldError(RuntimeError):
    """Another process is at work on this run; says which, where and since when."""


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Holds the lock at path, and writes beside it who does.

    Raises HeldError, naming the holder, if another process has it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(path)
    try:
        lock.acquire(timeout=0.5)  # who only looks holds it for a moment too
    except filelock.Timeout:
        raise HeldError(f"{path.stem} is being trained by {words(read(path))}. {ADVICE}") from None
    try:
        now = f"{datetime.now():%Y-%m-%d %H:%M:%S}"
        who = {"host": socket.gethostname(), "pid": os.getpid(), "since": now}
        who["job"] = os.environ.get("SLURM_JOB_ID")
        write_whole(_holder(path), json.dumps(who))
        yield
    finally:
        _holder(path).unlink(missing_ok=True)
        lock.release()


def is_held(path: Path) -> bool:
    """Whether a process, here or (where the file system can tell) elsewhere, holds the lock."""
    if not path.exists():
        return False
    lock = filelock.FileLock(path)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        return True
    lock.release()
    return False


def read(path: Path) -> dict:
    """What the last holder wrote; {} if there was none, or it is about to write."""
    try:
        return json.loads(_holder(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def words(who: dict) -> str:
    """The holder as a clause: process, host, since when, and the SLURM job if it is one."""
    if not who:
        return "another process, which has just started"
    job = f", SLURM job {who['job']}" if who["job"] else ""
    return f"process {who['pid']} on {who['host']} since {who['since']}{job}"


def _holder(path: Path) -> Path:
    return path.with_suffix(".holder.json")
