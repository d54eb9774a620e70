"""What the tests share: one thread, a configuration that trains in a second, the smoke grid."""

import subprocess
import sys

import pytest
import torch
from hypothesis import settings

from icl_core.config import Config
from icl_core.records import PROJECT

torch.set_num_threads(1)
settings.register_profile("tests", deadline=None, derandomize=True, database=None, max_examples=40)
settings.load_profile("tests")


@pytest.fixture(scope="session")
def tiny():
    """tiny(variant="CM", …) -> a Config of the smoke setup that differs in what is named."""
    return lambda **changes: Config(setup="smoke", **{"seed": 0} | changes)


def shell(command, **options):
    """A command in the project's folder, its output and errors as one text."""
    return subprocess.run(
        command,
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        **options,
    )


def snakemake(target, grid, out, *options, values=()):
    """Runs Snakemake on a grid whose out is replaced."""
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "--show-failed-logs", *options]
    command += ["--configfile", f"grids/{grid}.yaml", "--config", f"out={out}", *values]
    return shell([*command, "--", target])


@pytest.fixture(scope="session")
def smoke(tmp_path_factory):
    """The smoke grid, from nothing to its pages, in a folder with a space in its name."""
    out = tmp_path_factory.mktemp("a folder") / "of smoke"
    done = snakemake("report", "smoke", out)
    assert not done.returncode, done.stdout
    return out
