"""The grids, their DAG, and the way from parameters to pages."""

import re
import subprocess
import sys
from itertools import product
from pathlib import Path

import nbformat
import pandas as pd
import pytest
import yaml

from icl_report import generalisation, pages, records
from icl_report.config import ABLATIONS, FULL_SIZE, FUNCTION_CLASSES, Config

PROJECT = records.PROJECT
GRIDS = {path.stem: yaml.safe_load(path.read_text()) for path in PROJECT.glob("grids/*.yaml")}
NOTEBOOK = "1_position_and_mask"


def shell(command, **options):
    return subprocess.run(
        command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options
    )


def snakemake(target, grid, out, *options):
    """Runs Snakemake on a grid whose out is replaced."""
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "--show-failed-logs", *options]
    command += ["--configfile", f"grids/{grid}.yaml", "--config", f"out={out}", "--", target]
    return shell(command)


def planned(grid, out):
    """The runs, as (b, seed), that a grid would train."""
    shown = snakemake("report", grid, out, "--dry-run").stdout
    found = re.findall(rf"the run {NOTEBOOK}, b = (\d+), seed = (\d+)", shown)
    return sorted((int(b), int(seed)) for b, seed in found)


def record(out, b, seed, *files):
    """A recorded run as the DAG sees it."""
    folder = out / "data" / NOTEBOOK / f"b{b}-seed{seed}"
    folder.mkdir(parents=True)
    for name in files:
        (folder / name).touch()


@pytest.mark.parametrize("name", GRIDS)
def test_grid_is_of_valid_runs(name):
    grid = GRIDS[name]
    assert grid.keys() == {"out", "ablations", "parameters"}
    assert set(grid["ablations"]) <= {path.stem for path in PROJECT.glob("notebooks/*.py")}
    for ablation, runs in grid["ablations"].items():
        assert {"b", "seeds"} <= runs.keys() <= {"b", "seeds", "parameters"}
        parameters = grid["parameters"] | runs.get("parameters", {})
        ablation = ablation if ablation in ABLATIONS else NOTEBOOK  # the fourth trains nothing
        for b, seed in product(runs["b"], runs["seeds"]):
            Config(ablation=ablation, b=b, seed=seed, **parameters)


def test_only_the_full_grid_writes_outside_build():
    assert {name: Path(grid["out"]).parts[:1] for name, grid in GRIDS.items()} == {
        "full": (),
        "quick": ("build",),
        "smoke": ("build",),
    }


def test_recorded_runs_are_not_planned_whatever_the_times(tmp_path):
    assert planned("full", tmp_path) == sorted(product([1, 5], [0, 1, 2]))
    record(tmp_path, 5, 1, "config.json", "notebook.ipynb")
    record(tmp_path, 1, 0, "config.json", "notebook.ipynb")
    record(
        tmp_path, 1, 1, "config.json"
    )  # lacks its executed notebook: it will be loaded, not trained
    left = tmp_path / "build" / "runs" / NOTEBOOK / "b1-seed2.ipynb"
    left.parent.mkdir(parents=True)
    left.touch()  # as if the record of this run had been removed by hand
    assert planned("full", tmp_path) == [(1, 1), (1, 2), (5, 0), (5, 2)]
    assert left.exists()  # a dry run deletes nothing


def test_a_dry_run_for_slurm_plans_the_same_runs(tmp_path):
    """Snakemake knows every option of the profile; no SLURM is needed for that."""
    done = snakemake("grid", "smoke", tmp_path, "--dry-run", "--profile", "profiles/slurm")
    assert not done.returncode, done.stdout
    runs = sum(len(own["b"]) * len(own["seeds"]) for own in GRIDS["smoke"]["ablations"].values())
    assert re.search(rf"^run +{runs}$", done.stdout, re.MULTILINE)


def test_recorded_report_injects_only_what_the_full_grid_changes():
    """Its first run is the notebook's default, but for 8_loop; the summary has no run."""
    grid = GRIDS["full"]
    first = {name: (runs["b"][0], runs["seeds"][0]) for name, runs in grid["ablations"].items()}
    assert first.pop("8_loop") == (5, 0) and set(first.values()) == {(1, 0)}
    assert (Config().b, Config().seed) == (1, 0)
    shown = snakemake("report", "full", grid["out"], "--dry-run", "--printshellcmds").stdout
    passed = re.findall(r"build/\w+\.ipynb --parameters_yaml '([^']*)'", shown)
    own = [runs.get("parameters", {}) for name, runs in grid["ablations"].items() if name in first]
    own.append({"b": 5})
    assert grid["parameters"] == {}
    assert [yaml.safe_load(text) for text in passed] == [*own, {}]


def test_report_without_recorded_runs_says_so(tmp_path):
    done = snakemake("recorded", "full", tmp_path)
    assert done.returncode and "no recorded runs" in done.stdout
    assert "make report GRID=quick" in done.stdout


def test_bad_parameters_stop_papermill_before_anything_is_trained(tmp_path):
    py = sys.executable
    done = shell(
        f"'{py}' -m jupytext --quiet --to ipynb --output - notebooks/{NOTEBOOK}.py | "
        f"'{py}' -m papermill - '{tmp_path}/out.ipynb' -p b 0 -p sed 3 -p out '{tmp_path}' "
        "--kernel python3 --cwd notebooks --no-progress-bar",
        shell=True,
    )
    assert done.returncode
    assert "2 bad parameters, nothing was trained" in done.stdout
    assert "b = 0: must be" in done.stdout and "sed: no such parameter" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["out.ipynb"]


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    """The smoke grid, from nothing to its pages."""
    out = tmp_path_factory.mktemp("smoke")
    done = snakemake("report", "smoke", out)
    assert not done.returncode, done.stdout
    return out


def test_smoke_grid_is_recorded(smoke):
    """Every run of every ablation; what an earlier ablation has trained is taken over."""
    parameters = GRIDS["smoke"]["parameters"]
    for ablation, asked in GRIDS["smoke"]["ablations"].items():
        if ablation not in ABLATIONS:
            continue
        runs = [records.read_run(path) for path in sorted((smoke / "data" / ablation).iterdir())]
        classes = FUNCTION_CLASSES if ablation == "6_function_classes" else ("linear",)
        configs = [
            Config(ablation=ablation, b=b, function_class=of, **parameters)
            for b, of in product(asked["b"], classes)
        ]
        assert [r.config for r in runs] == sorted(configs, key=lambda config: config.name)
        shared = set(ABLATIONS[ablation]) & set(ABLATIONS[NOTEBOOK])
        for run in runs:
            other = ablation == NOTEBOOK or run.config.function_class != "linear"
            assert set(run.provenance["taken_over"]) == (set() if other else shared)
    assert planned("smoke", smoke) == []


def test_every_recorded_run_is_measured_elsewhere(smoke):
    """The fourth notebook trains nothing; it measures every run but those of another size."""
    runs = [path for name in FULL_SIZE for path in (smoke / "data" / name).glob("b*")]
    assert len(runs) > 4
    for path in runs:
        assert list(pd.read_csv(path / "elsewhere.csv").columns) == generalisation.COLUMNS


@pytest.mark.parametrize("ablation", ["0_summary", *GRIDS["smoke"]["ablations"]])
def test_every_notebook_of_the_grid_is_in_the_pages_without_errors(smoke, ablation):
    """Executed anew after the last run, with outputs in both languages and nothing on stderr."""
    notebook = nbformat.read(smoke / f"notebooks/{ablation}.ipynb", as_version=4)
    outputs = [o for cell in notebook.cells for o in cell.get("outputs", [])]
    assert not [o for o in outputs if o.output_type in ("error", "stream")]
    languages = [o.metadata.get("language") for o in outputs]
    assert languages.count("ru") == languages.count("en") == len(languages) / 2 > 5
    title = next(c.source for c in notebook.cells if c.source.startswith("# ")).splitlines()[0]
    assert title.removeprefix("# ") in (smoke / "report/report.ru.html").read_text()


def test_the_executed_notebook_is_kept_beside_its_data(smoke):
    """With its parameters injected, executed to the end, and of no particular machine."""
    for b in (1, 5):
        notebook = nbformat.read(smoke / f"data/{NOTEBOOK}/b{b}-seed0/notebook.ipynb", as_version=4)
        code = [cell for cell in notebook.cells if cell.cell_type == "code"]
        assert all(cell.execution_count for cell in code)
        (injected,) = (c for c in code if "injected-parameters" in c.metadata.get("tags", ()))
        assert "batch_size = 4" in injected.source and ("b = 5" in injected.source) == (b == 5)
        assert not pages.VOLATILE & {key for cell in notebook.cells for key in cell.metadata}


def test_report_again_changes_no_byte(smoke):
    def products():
        folders = ("notebooks", "figures", "report")
        paths = [path for name in folders for path in (smoke / name).iterdir()]
        return {path.relative_to(smoke).as_posix(): path.read_bytes() for path in paths}

    before = products()
    done = snakemake("recorded", "smoke", smoke)
    assert not done.returncode, done.stdout
    assert {name for name, bytes_ in before.items() if products().get(name) != bytes_} == set()
    for language in ("ru", "en"):
        assert f'<html lang="{language}"'.encode() in before[f"report/report.{language}.html"]
