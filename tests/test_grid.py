"""The grids, their DAG, and the way from parameters to pages."""

import os
import re
import shlex
import shutil
import sys
from itertools import product
from pathlib import Path

import jupytext
import nbformat
import pytest
import yaml
from conftest import STRANGE, shell, snakemake

from icl_core import records
from icl_core.config import Config
from icl_report import pages
from icl_report.execute import parameters_of

PROJECT = records.PROJECT
GRIDS = {
    path.stem: yaml.safe_load(path.read_text(encoding="utf-8"))
    for path in PROJECT.glob("grids/*.yaml")
    if path.stem != "records"
}
AXES = ("setups", "b", "seeds")
NOTEBOOK = "1_position_and_mask"


def runs_of(grid):
    """Its (notebook, setup, b, seed), in its order."""
    return [
        (name, *run)
        for name, own in GRIDS[grid]["notebooks"].items()
        for run in product(*(own.get(axis, []) for axis in AXES))
    ]


@pytest.mark.parametrize("name", GRIDS)
def test_a_grid_is_of_valid_runs_of_notebooks_that_are_there(name):
    assert GRIDS[name].keys() == {"out", "notebooks"}
    for own in GRIDS[name]["notebooks"].values():
        assert own.keys() - {"page"} in ({*AXES}, set()), "a notebook has runs, or only a page"
        assert own.get("page", "appendix") in ("report", "appendix")
    for notebook, setup, b, seed in runs_of(name):
        assert (PROJECT / f"notebooks/{notebook}.py").exists()
        Config(setup=setup, b=b, seed=seed)


def test_only_the_full_grid_writes_outside_build():
    assert {name: Path(grid["out"]).parts[:1] for name, grid in GRIDS.items()} == {
        "full": (),
        "quick": ("build",),
        "smoke": ("build",),
    }


@pytest.mark.parametrize("options", [(), ("--profile", "profiles/slurm")])
def test_every_run_is_planned_whatever_the_times(tmp_path, options):
    """The profile for SLURM too: Snakemake knows its options; no SLURM is needed for that."""
    left = tmp_path / f"build/runs/{NOTEBOOK}/source-b1-seed42.ipynb"
    left.parent.mkdir(parents=True)
    left.touch()  # of a clone, or of a record that has been removed by hand
    shown = snakemake("grid", "full", tmp_path, "--dry-run", *options).stdout
    planned = re.findall(r"(\w+), ([\w+-]+), b = (\d+), seed = (\d+); its log", shown)
    expected = [tuple(map(str, run)) for run in runs_of("full")]
    assert sorted(planned) == sorted(expected), shown
    assert left.exists()  # a dry run deletes nothing


def test_a_value_of_the_grid_reaches_each_notebook(tmp_path, monkeypatch):
    """As it was written; in the folder's own name ~ is the home."""
    monkeypatch.setenv("HOME", str(tmp_path))
    dry = ["--dry-run", "--printshellcmds"]
    shown = snakemake("report", "smoke", "~/out", *dry, values=["device=cuda"]).stdout
    commands = re.findall(r"icl_report\.execute .*", shown)
    assert len(commands) == len(runs_of("smoke")) + len(GRIDS["smoke"]["notebooks"])
    for words in map(shlex.split, commands):
        assert {"--device=cuda", "--out=~/out"} < {*words}
        assert words[2].startswith(f"{tmp_path}/out/build/")
    for module, folder in (("stored", "figures"), ("pages", "report")):
        assert re.search(rf"icl_report\.{module} .*{re.escape(str(tmp_path))}/out/{folder}", shown)


def test_a_grid_without_a_folder_is_refused(tmp_path):
    """`out:` with nothing behind it is None to YAML: nobody knows where it was meant to go."""
    grid = tmp_path / "grid.yaml"
    grid.write_text("out:\nnotebooks: {}\n", encoding="utf-8")
    command = f"{sys.executable} -m snakemake -n -c1 --configfile {shlex.quote(str(grid))} -- grid"
    refused = shell(shlex.split(command))
    assert refused.returncode
    assert "out has no value" in refused.stdout and "Error in line" not in refused.stdout


def test_the_report_s_notebooks_are_as_they_stand():
    """The full grid's first run of each is the notebook's defaults: no cell is put into it."""
    for name, own in GRIDS["full"]["notebooks"].items():
        defaults = parameters_of(jupytext.read(PROJECT / f"notebooks/{name}.py"))
        first = {axis.removesuffix("s"): own[axis][0] for axis in AXES if axis in own}
        assert first | {"out": GRIDS["full"]["out"]} == {k: defaults[k] for k in [*first, "out"]}


def test_smoke_grid_is_recorded(smoke):
    for notebook, setup, b, seed in runs_of("smoke"):
        if notebook != NOTEBOOK:
            continue
        for variant in ("none", "CM", "SPE", "LPE", "SPE + CM", "LPE + CM"):
            config = Config(setup=setup, variant=variant, b=b, seed=seed)
            assert records.find_run(str(smoke), config).config == config
    asked = {f"{setup}/{b}-{seed}" for _, setup, b, seed in runs_of("smoke")}
    folders = [path.relative_to(smoke / "data") for path in smoke.glob("data/*/*/b*")]
    there = {f"{own.parts[0]}/{own.name[1:].replace('-seed', '-')}" for own in folders}
    assert there == asked, "nothing is trained but what the grid has"


def outputs_of(path):
    cells = nbformat.read(path, as_version=4).cells
    return [output for cell in cells for output in cell.get("outputs", [])]


def test_every_notebook_of_the_grid_is_in_the_pages_without_errors(smoke):
    """Executed anew after the last run, and nothing on stderr."""
    for name, own in GRIDS["smoke"]["notebooks"].items():
        outputs = outputs_of(smoke / f"notebooks/{name}.ipynb")
        assert outputs
        assert not [o for o in outputs if o.output_type in ("error", "stream")]
        for language in ("ru", "en"):
            path = smoke / f"report/{own.get('page', 'appendix')}.{language}.html"
            page = path.read_text(encoding="utf-8")
            assert f'<html lang="{language}"' in page and f'id="{name}"' in page


def test_an_executed_run_has_what_the_grid_gives_and_no_more(smoke):
    for b in (1, 2):
        path = smoke / f"build/runs/{NOTEBOOK}/smoke-b{b}-seed0.ipynb"
        code = [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]
        assert all(cell.execution_count for cell in code)
        (injected,) = (c for c in code if "injected-parameters" in c.metadata.get("tags", ()))
        assert ("b = 2" in injected.source) == (b == 2) and "device" not in injected.source


def test_the_stored_notebooks_are_of_no_machine_and_the_pages_come_out_again(smoke):
    """What the pages are made of gives the same bytes, in another folder."""
    shown = {}
    for name, own in GRIDS["smoke"]["notebooks"].items():
        path = smoke / f"notebooks/{name}.ipynb"
        shown.setdefault(own.get("page", "appendix"), []).append(path)
        cells = nbformat.read(path, as_version=4).cells
        assert {key for cell in cells for key in cell.metadata} <= {"tags"}
    for path in pages.build(shown, smoke / "again"):
        assert path.read_bytes() == (smoke / "report" / path.name).read_bytes()


@pytest.mark.long
def test_report_again_changes_no_byte(smoke):
    def products():
        folders = ("notebooks", "figures", "report")
        paths = [path for name in folders for path in (smoke / name).iterdir()]
        return {path.relative_to(smoke).as_posix(): path.read_bytes() for path in paths}

    before = products()
    done = snakemake("recorded", "smoke", smoke)
    assert not done.returncode, done.stdout
    assert {name for name, bytes_ in before.items() if products().get(name) != bytes_} == set()


@pytest.fixture
def checkout(tmp_path):
    """A copy of the project, in which make finds this environment to be its own."""
    copy = tmp_path / "a checkout"
    for name in ("icl_core", "icl_report", "notebooks", "profiles"):
        shutil.copytree(PROJECT / name, copy / name)
    for name in ("Makefile", "Snakefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(PROJECT / name, copy)
    (copy / "grids").mkdir()
    (copy / ".venv").mkdir()
    for path in Path(sys.prefix).iterdir():
        (copy / ".venv" / path.name).symlink_to(path)
    (copy / ".venv" / "ready").unlink(missing_ok=True)
    (copy / ".venv" / "ready").write_text(f"{copy}\n", encoding="utf-8")
    return copy


@pytest.mark.long
def test_the_reason_of_a_failed_run_is_whole_and_last_wherever_one_looks(checkout):
    """Without UTF-8 or a home, two runs at once, and what a killed grid left still writes."""
    runs = "{5_choices: {setups: [smoke], b: [101, 102], seeds: [4294967296]}}"
    (checkout / "grids/own.yaml").write_text(f"out: опыты\nnotebooks: {runs}\n", encoding="utf-8")
    folder = checkout / "опыты/build/runs/5_choices"
    folder.mkdir(parents=True)
    logs = {b: folder / f"smoke-b{b}-seed4294967296.log" for b in (101, 102)}
    with open(logs[101], "w", encoding="utf-8") as left:
        left.write("of the killed grid\n" * 9000)
        left.flush()
        command = ["make", "grid", "GRID=own", "CORES=2"]
        said = shell(command, folder=checkout, env=os.environ | STRANGE).stdout
        left.write("of the killed grid\n")
    for b, log in logs.items():
        text = log.read_bytes().decode("utf-8")
        first, *reason = text.splitlines()[-3:]
        assert first.endswith("ConfigError: 2 bad parameters, nothing was trained:"), said
        assert [own.split(" = ")[0] for own in reason] == ["  b", "  seed"]
        assert f"b = {b}: must be an integer ≥ 1 and ≤ 100" in reason[0]
        assert "\0" not in text and "killed" not in text
        assert text.strip() in said
