"""What the tests share: one thread, a configuration that trains in a second, the smoke grid."""

import os
import re
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


# A locale without UTF-8, and no home: a file, in which nothing can be made. Caches: those of make.
STRANGE = {"LC_ALL": "C", "PYTHONUTF8": "0", "HOME": __file__}
MAKEFILE = (PROJECT / "Makefile").read_text(encoding="utf-8")
CACHES = {n: f"{PROJECT}{own}" for n, own in re.findall(r'(\w+)="\$\(CURDIR\)(.*?)"', MAKEFILE)}


def shell(command, folder=PROJECT, **options):
    """A command in the folder, its output and errors as one text."""
    return subprocess.run(
        command,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        **options,
    )


def snakemake(target, grid, out, *options, values=(), **environment):
    """Runs Snakemake on a grid whose out is replaced."""
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "--show-failed-logs", *options]
    command += ["--configfile", f"grids/{grid}.yaml", "--config", f"out={out}", *values]
    return shell([*command, "--", target], env=os.environ | environment)


@pytest.fixture(scope="session")
def smoke(tmp_path_factory):
    """The smoke grid, from nothing to its pages: a space in the folder, no UTF-8, no home."""
    out = tmp_path_factory.mktemp("a folder") / "of smoke"
    done = snakemake("report", "smoke", out, **STRANGE, **CACHES)
    assert not done.returncode, done.stdout
    return out
