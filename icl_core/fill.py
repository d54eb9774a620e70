"""Trains the missing runs of a list, in the order of value; several may work on one list at once.

OMP_WAIT_POLICY=PASSIVE python -m icl_core.fill grids/records.yaml
"""

import argparse
import logging
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import yaml

from icl_core import records, training
from icl_core.config import Config

logger = logging.getLogger(__name__)


def listed(path: Path) -> Iterator[Config]:
    """The runs of a list: its blocks in order, in each every seed, b, setup and variant."""
    for block in yaml.safe_load(path.read_text(encoding="utf-8"))["blocks"]:
        for seed, b, setup, variant in product(
            block["seeds"], block["b"], block["setups"], block["variants"]
        ):
            yield Config(setup=setup, variant=variant, b=b, seed=seed)


def main() -> None:
    """Trains run after run; leaves out what another process trains."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("list", type=Path, help="a file as grids/records.yaml")
    parser.add_argument("--out", default=".", help="the folder whose data/ holds the records")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    for config in list(listed(arguments.list)):
        if not records.run_folder(arguments.out, config).exists():
            try:
                training.run(config, arguments.out)
            except records.HeldError:
                logger.info("%s: another process trains it", config.place)


if __name__ == "__main__":
    main()
