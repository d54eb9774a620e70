"""Trains the missing runs of a list, in the order of value; several may work on one list at once.

OMP_WAIT_POLICY=PASSIVE python -m icl_core.fill grids/records.yaml
python -m icl_core.fill grids/records.yaml --device cuda --workers 8 --seconds 500 --tars DIR
"""

import argparse
import logging
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import yaml

from icl_core import lent, records, training
from icl_core.config import Config

logger = logging.getLogger(__name__)


def listed(path: Path, device: str = "cpu") -> Iterator[Config]:
    """The runs of a list: its blocks in order, in each every seed, b, setup and variant."""
    for block in yaml.safe_load(path.read_text(encoding="utf-8"))["blocks"]:
        for seed, b, setup, variant in product(
            block["seeds"], block["b"], block["setups"], block["variants"]
        ):
            yield Config(setup=setup, variant=variant, b=b, seed=seed, device=device)


def train(config: Config, out: str) -> None:
    """Trains a run, unless it is recorded or another process trains it."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    if not records.run_folder(out, config).exists():
        try:
            training.run(config, out)
        except records.HeldError:
            logger.info("%s: another process trains it", config.place)


def main() -> None:
    """Trains what data/ lacks, here and in out; with workers for some seconds, and packs it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("list", type=Path, help="a file as grids/records.yaml")
    parser.add_argument("--out", default=".", help="the folder whose data/ holds the records")
    parser.add_argument("--device", default="cpu", help="cpu (the default) or cuda")
    parser.add_argument("--workers", type=int, default=0, help="runs side by side, a process each")
    parser.add_argument("--seconds", type=float, default=1e9, help="how long they may train")
    parser.add_argument("--tars", type=Path, help="a folder: what they made is packed there")
    given = parser.parse_args()
    configs = list(listed(given.list, given.device))
    missing = [own for own in configs if not records.run_folder(".", own).exists()]
    if given.workers:
        lent.train(train, missing, given.out, given.workers, given.seconds, given.tars)
    else:
        for config in missing:
            train(config, given.out)


if __name__ == "__main__":
    main()
