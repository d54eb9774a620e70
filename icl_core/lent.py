"""On a machine that is lent for minutes: it checks itself, trains side by side, packs what it made.

Nothing but icl_core's own needs is used: no git, no notebook, no network.
"""

import logging
import tarfile
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pandas as pd

from icl_core import records, training
from icl_core.config import Config

logger = logging.getLogger(__name__)
PUBLISHED = records.PROJECT / "data" / "source" / "published" / "runs.csv"
N_TARS, TAR_BYTES = 6, 15_000_000


def train(
    deed: Callable[[Config, str], None],
    configs: Sequence[Config],
    out: str,
    workers: int,
    seconds: float,
    tars: Path | None,
) -> None:
    """Does the deed, which trains a run, for one after another, until the seconds are over."""
    end = time.monotonic() + seconds
    if configs and not apart("the check", end, check, configs[0].device):
        raise SystemExit("The check failed, and nothing was trained: see above.")
    pool = ThreadPoolExecutor(workers)
    try:
        for own in [pool.submit(apart, c.place, end, deed, c, out) for c in configs]:
            if error := own.exception():
                logger.error("%s", error)
    finally:  # at Ctrl-C as well
        pool.shutdown(cancel_futures=True)
    recorded = [records.run_folder(out, config) for config in configs]
    under_way = [records.work_folder(out, own) / "checkpoint.safetensors" for own in configs]
    logger.warning("recorded: %d of %d", sum(map(Path.exists, recorded)), len(configs))
    if tars:
        pack([*recorded, *under_way], records.root_folder(out), tars)


def check(device: str) -> None:
    """Records a tiny run and trains ten steps of a published one; exits if their losses differ."""
    config = Config(variant="LPE + CM", b=1, seed=42, steps=10, device=device)
    theirs = pd.read_csv(PUBLISHED).query("variant == 'LPE + CM' and b == 1 and seed == 42").iloc[0]
    with tempfile.TemporaryDirectory() as folder:
        training.run(Config(setup="smoke", variant="SPE", device=device), folder)
        ours = training.train(config, Path(folder) / "checkpoint")[1].losses.tolist()
    for step in (1, 2, 3, 5, 10):
        if not abs(ours[step - 1] / theirs[f"loss_{step}"] - 1) < 1e-5:
            told = f"loss {step} is {ours[step - 1]}, published is {theirs[f'loss_{step}']:.9g}"
            raise SystemExit(f"device = {device!r}: {told}. Try ICL_CAPTURE=0, or device cpu.")


def apart(name: str, end: float, deed: Callable, *arguments) -> bool:
    """Does a deed in a process of its own, which takes no other with it; whether all went well.

    At the end it is killed: what it has trained by then is in its last checkpoint.
    """
    if (left := end - time.monotonic()) <= 0:
        return False
    process = get_context("spawn").Process(target=deed, args=arguments, daemon=True)
    process.start()  # a fork would share its parent's GPU
    process.join(left)
    if process.is_alive():
        logger.warning("%s: its time is over", name)
        process.kill()
        process.join()
    elif process.exitcode:
        logger.error("%s: its process ended with %d", name, process.exitcode)
    return process.exitcode == 0


def pack(paths: Sequence[Path], root: Path, folder: Path) -> None:
    """Puts what is there of the paths into tars, in their order; what they can't hold is told."""
    parts, room = [], 0
    for path in filter(Path.exists, paths):
        needs = sum(own.stat().st_size + 2_560 for own in (path, *path.glob("*")))  # and headers
        if needs > room:
            parts, room = [*parts, []], TAR_BYTES - tarfile.RECORDSIZE
        parts[-1].append(path)
        room -= needs
    folder.mkdir(parents=True, exist_ok=True)
    for number, part in enumerate(parts[:N_TARS], start=1):
        with tarfile.open(folder / f"records-{number}.tar", "w") as tar:
            for path in part:
                tar.add(path, path.relative_to(root))
    for part in parts[N_TARS:]:
        logger.error("not packed, the tars are full: %s", ", ".join(map(str, part)))
