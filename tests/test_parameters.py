"""Bad parameters are refused by name, with their value and what is accepted, before any work."""

import os
import re
import subprocess
import sys

import jupytext
import pytest
import yaml
from papermill.translators import PythonTranslator

from icl_report import places
from icl_report.config import Config, ConfigError, notebook_parameters
from icl_report.training import run

THOROUGH = "KILLS" in os.environ  # make test-faults
WHOLE = "must be an integer ≥ 1 and ≤ "
BAD = [
    *(("b", value, WHOLE + "100") for value in (0, -1, 101, 1.5, "5", True, None, [1])),
    *(
        ("seed", value, "must be an integer ≥ 0 and < 4294967296")
        for value in (-1, 2**32, 0.5, "a")
    ),
    *(("n_layers", value, WHOLE + "100") for value in (0, 101, 2.0, "two")),
    *(("n_heads", value, WHOLE + "1000000") for value in (0, -4, 1.5, 10**9)),
    *(("width", value, "must be an integer ≥ 2 and ≤ 8192") for value in (0, 1, 8200, 64.0, "64")),
    *(("width", value, "must be a multiple of 2 · n_heads = 8") for value in (60, 65)),
    *(("mlp_width", value, WHOLE + "1000000") for value in (0, -1, 1e3, 10**12)),
    *(("n_examples", value, WHOLE + "10000") for value in (0, 10_001, "63")),
    *(("d", value, WHOLE + "1000") for value in (0, 1001, "five")),
    *(("function_class", value, "'linear', 'sparse', 'network' or 'tree'") for value in ("", 3)),
    *(("batch_size", value, WHOLE + "1000000") for value in (0, -64, 64.0, 10**9)),
    *(
        ("lr", value, "must be a finite number > 0 and ≤ 100")
        for value in (0, -1e-3, float("nan"), float("inf"), 101.0, "fast")
    ),
    *(("steps", value, WHOLE + "10000000") for value in (0, -1, 10_000_001, 1e4)),
    *(("log_every", value, WHOLE + "1000000") for value in (0, 1.0)),
    *(("log_every", value, "must be a divisor of steps = 10000") for value in (7, 20_000)),
    ("curve_prompts", 0, WHOLE + "1000000"),
    ("evaluation_prompts", 0, WHOLE + "1000000"),
    ("evaluation_prompts", 100, "must be at least curve_prompts = 512"),
    *(("device", value, "must be one of cpu") for value in ("gpu", "cuda:99", "")),
    *((name, 3, "no such parameter; the parameters are ablation, b,") for name in ("sed", "B")),
]


@pytest.fixture(scope="module")
def first_cells():
    """The notebook's cells of parameters and of their check."""
    cells = jupytext.read(places.PROJECT / "notebooks" / "1_position_and_mask.py").cells
    place = next(i for i, cell in enumerate(cells) if "parameters" in cell.metadata.get("tags", ()))
    return cells[place].source, cells[place + 1].source


@pytest.mark.parametrize("name, value, accepted", BAD, ids=lambda part: repr(part)[:30])
def test_a_bad_parameter_is_refused_with_its_name_value_and_range(
    first_cells, name, value, accepted
):
    """By the notebook's own cells, with the one that papermill injects between them."""
    own, check = first_cells
    injected = f"# Parameters\n{PythonTranslator.assign(name, PythonTranslator.translate(value))}"
    names = {"In": ["", "import logging", own, injected, check]}
    names |= {"Config": Config, "notebook_parameters": notebook_parameters}
    exec(f"{own}\n{injected}", names)
    with pytest.raises(ConfigError, match=r"^1 bad parameter, nothing was trained") as raised:
        exec(check, names)
    said = str(raised.value)
    assert accepted in said, said
    assert re.search(rf"^  {name}( = {re.escape(repr(value))})?: ", said, re.MULTILINE), said


def test_a_parameter_that_the_notebook_gives_itself_is_refused(first_cells):
    """Not with a TypeError of Python's about a value given twice."""
    own, check = first_cells
    names = {"In": ["", own, "ablation = '5_scales'", check]}
    names |= {"Config": Config, "notebook_parameters": notebook_parameters}
    exec(f"{own}\nablation = '5_scales'", names)
    with pytest.raises(ConfigError, match="ablation = '5_scales': this notebook gives it itself"):
        exec(check, names)


@pytest.mark.parametrize("out", [3, None, "a\0b"])
def test_a_bad_folder_is_refused_by_name(tiny, out):
    """It is no part of the experiment's table, and checked where it is used."""
    with pytest.raises(ConfigError, match=r"out = .* must be the name of a folder"):
        run(tiny(), out)


@pytest.mark.parametrize("name, value, accepted", BAD[:: len(BAD) // (5 if THOROUGH else 1)])
def test_papermill_stops_at_a_bad_parameter_within_seconds(tmp_path, name, value, accepted):
    """Before anything is trained: nothing is written but the notebook with the error."""
    source = places.PROJECT / "notebooks" / "1_position_and_mask.py"
    jupytext.write(jupytext.read(source), tmp_path / "in.ipynb")
    command = [sys.executable, "-m", "icl_report.execute", str(tmp_path / "in.ipynb"), "-", "-k"]
    command += ["python3", "-y", yaml.safe_dump({name: value, "out": str(tmp_path / "out")})]
    before = os.times()
    done = subprocess.run(command, cwd=source.parent, capture_output=True, text=True)
    after = os.times()
    assert done.returncode and accepted in done.stderr
    # Not by the clock, which runs as fast when other processes have the processor.
    spent = sum(after[i] - before[i] for i in (2, 3))  # of child processes
    assert spent < 10
    assert not (tmp_path / "out").exists()
