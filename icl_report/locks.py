"""One process a run: a lock of the operating system's, which goes when its process does."""

import fcntl
import json
import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

logger = logging.getLogger(__name__)
ADVICE = "Nothing was touched: wait for it, or stop it and run this again, which will resume."
ATTEMPTS = 5  # a tenth of a second apart: who only looks holds the lock for a moment too


class HeldError(RuntimeError):
    """Another process is at work on this run; says which, where and since when."""


@contextmanager
def held(path: Path, **about) -> Iterator[None]:
    """Holds the lock at path while it is open, and writes there who holds it, and what about.

    Raises HeldError, naming the holder, if another process has it. Where the file system has no
    locks it warns and goes on.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a+", encoding="utf-8") as file:
        try:
            free = any(_take(file) for _ in range(ATTEMPTS))
        except OSError as error:
            free = True
            logger.warning("%s: no locks here (%s); see to it that this runs once", path, error)
        if not free:
            raise HeldError(f"{path.stem} is being trained by {words(read(path))}. {ADVICE}")
        _write(file, about)
        yield


@contextmanager
def in_turn(folder: Path) -> Iterator[None]:
    """Waits until no other process is in here for the same folder; without locks it goes on."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _take(file) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        time.sleep(0.1)
        return False
    return True


def _write(file, about: dict) -> None:
    now = f"{datetime.now():%Y-%m-%d %H:%M:%S}"
    who = {"host": socket.gethostname(), "pid": os.getpid(), "since": now}
    who |= {"job": os.environ.get("SLURM_JOB_ID")} | about
    try:
        os.truncate(file.fileno(), 0)
        os.write(file.fileno(), json.dumps(who).encode())
    except OSError as error:
        raise OSError(error.errno, f"nothing was trained ({error.strerror})", file.name) from error


def is_held(path: Path) -> bool:
    """Whether a process, here or (where the file system can tell) elsewhere, holds the lock."""
    try:
        with open(path, encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # no such file, or no locks here
        return False
    return False


def read(path: Path) -> dict:
    """What the last holder wrote; {} if there was none, or it is about to write."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def words(who: dict) -> str:
    """The holder as a clause: process, host, since when, and the SLURM job if it is one."""
    if not who:
        return "another process, which has just started"
    job = f", SLURM job {who['job']}" if who["job"] else ""
    return f"process {who['pid']} on {who['host']} since {who['since']}{job}"
