"""What a person sees of a run that lasts: make status, the bar, a line a minute."""

import io
import json
import math
import re
import subprocess
import sys

import pytest
import yaml
from conftest import TINY
from tqdm import tqdm

from icl_report import locks, places, records, status, training
from icl_report.training import run


class StoppedError(Exception):
    """What ends a run in its middle."""


@pytest.fixture
def grid(tmp_path):
    """The grid of one ablation, b = 1, five seeds; and its file."""
    parameters = {**TINY, "variants": ["CM", "LPE"], "steps": 20, "log_every": 5}
    runs = {"1_position_and_mask": {"b": [1], "seeds": [0, 1, 2, 3, 4]}}
    runs |= {"4_lengths_and_loops": {"b": [1], "seeds": [0]}}  # it trains nothing
    grid = {"out": str(tmp_path), "ablations": runs, "parameters": parameters}
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump(grid))
    return grid


def stop_in(monkeypatch, variant, at):
    """Every step takes a second of the run's own clock; this one is not reached."""
    update, clock = training.update, iter(range(100_000))

    def stopping(config, model, optimiser, step):
        if (model.variants[0].name, step) == (variant, at):
            raise StoppedError
        return update(config, model, optimiser, step)

    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", -1)
    monkeypatch.setattr(training.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(training, "update", stopping)


def test_every_state_of_a_run_is_told(grid, tmp_path, monkeypatch):
    """Done, diverged, running, interrupted, missing: with step, speed and time left."""
    done, diverged, running, interrupted, missing = status.runs_of(grid)
    run(done, grid["out"])
    run(diverged, grid["out"])
    record = places.run_folder(grid["out"], diverged) / "config.json"
    made_by = json.loads(record.read_text()) | {"diverged": {"CM": 15}}
    record.write_text(json.dumps(made_by))
    for stopped in (running, interrupted):
        with monkeypatch.context() as patch, pytest.raises(StoppedError):
            stop_in(patch, "LPE", 10)
            run(stopped, grid["out"])
    expected = "LPE: step 10 of 20; 75% of the run, 1 variant-steps a second, 00:10 left"
    told = [status.state_of(grid["out"], config) for config in (done, diverged, missing)]
    assert told == [("done", ""), ("diverged", "CM at step 15"), ("missing", "")]
    assert status.state_of(grid["out"], interrupted) == ("interrupted", expected)
    with locks.held(places.lock_file(grid["out"], running), variants=["CM", "LPE"]):
        kind, told = status.state_of(grid["out"], running)
        assert kind == "running" and told.startswith(f"{expected}; process ")
        printed = subprocess.run(
            [sys.executable, "-m", "icl_report.status", str(tmp_path / "grid.yaml")],
            cwd=records.PROJECT,
            capture_output=True,
            text=True,
        )
    rows = re.findall(r"^1_position_and_mask/b1-seed(\d) +(\w+)", printed.stdout, re.MULTILINE)
    kinds = ["done", "diverged", "running", "interrupted", "missing"]
    assert rows == [(str(seed), kind) for seed, kind in enumerate(kinds)]
    assert printed.stdout.splitlines()[-1].startswith("5 runs: 1 done, 1 diverged, 1 running")


def test_what_is_taken_over_or_has_ended_early_needs_no_time(grid, monkeypatch):
    """The lock tells which variants are trained; a stack that diverged is over."""
    config = status.runs_of(grid)[0]
    with monkeypatch.context() as patch, pytest.raises(StoppedError):
        stop_in(patch, "CM", 10)
        run(config, grid["out"])
    assert "25% of the run" in status.state_of(grid["out"], config)[1]
    lock = places.lock_file(grid["out"], config)
    lock.write_text(json.dumps(locks.read(lock) | {"variants": ["CM"]}))
    assert "50% of the run" in status.state_of(grid["out"], config)[1]
    other, update = status.runs_of(grid)[1], training.update

    def poisoned(config, model, optimiser, at):
        if model.variants[0].name == "CM":
            model.read_in.weight.data.fill_(math.nan)
        return update(config, model, optimiser, at)

    with monkeypatch.context() as patch, pytest.raises(StoppedError):
        patch.setattr(training, "update", poisoned)
        stop_in(patch, "LPE", 10)
        run(other, grid["out"])
    expected = "LPE: step 10 of 20; 60% of the run, "  # 5 steps and 10 of 5 and 20
    assert status.state_of(grid["out"], other)[1].startswith(expected)


def test_what_cannot_be_read_is_told(grid, monkeypatch):
    """A damaged header, a record with other parameters: neither is taken for progress."""
    config, other, *_ = status.runs_of(grid)
    with monkeypatch.context() as patch, pytest.raises(StoppedError):
        stop_in(patch, "CM", 3)
        run(config, grid["out"])
    checkpoint = places.checkpoint_folder(grid["out"], config) / "cm.safetensors"
    checkpoint.write_bytes(checkpoint.read_bytes()[:100])
    assert status.state_of(grid["out"], config)[0] == "unreadable"
    run(other.model_copy(update={"lr": 0.01}), grid["out"])
    expected = ("unreadable", "recorded with other parameters")
    assert status.state_of(grid["out"], other) == expected


def test_a_run_on_any_device_is_seen(grid, monkeypatch):
    """Its checkpoints lie in a folder of that device's own."""
    config = status.runs_of(grid)[0]
    with monkeypatch.context() as patch, pytest.raises(StoppedError):
        stop_in(patch, "CM", 10)
        run(config, grid["out"])
    expected = status.state_of(grid["out"], config)
    assert expected[0] == "interrupted"
    folder = places.checkpoint_folder(grid["out"], config)
    there = places.checkpoint_folder(grid["out"], config.model_copy(update={"device": "cuda:3"}))
    folder.rename(there)
    assert status.state_of(grid["out"], config) == expected


def test_a_run_that_is_recorded_while_one_looks_is_done(grid, monkeypatch):
    """Its checkpoints may vanish between two looks."""
    config = status.runs_of(grid)[0]

    def vanish(*_):
        run(config, grid["out"])
        raise FileNotFoundError

    monkeypatch.setattr(status, "_progress", vanish)
    assert status.state_of(grid["out"], config) == ("done", "")


def test_a_grid_that_is_no_yaml_is_refused_by_name(tmp_path, monkeypatch, capsys):
    """In a line, not with a traceback."""
    (tmp_path / "grid.yaml").write_text("ablations: [")
    monkeypatch.setattr(sys, "argv", ["status", str(tmp_path / "grid.yaml")])
    with pytest.raises(SystemExit):
        status.main()
    assert "grid.yaml" in capsys.readouterr().err


def test_status_does_without_torch():
    """Else it would take seconds, and someone who watches asks often."""
    heavy = "import sys, icl_report.status; print({'torch', 'pandas'} & sys.modules.keys())"
    shown = subprocess.run([sys.executable, "-c", heavy], capture_output=True, text=True)
    assert shown.stdout.strip() == "set()"


def test_a_batch_log_has_a_line_every_so_often(tiny, tmp_path, monkeypatch, caplog):
    """Where it is, the latest losses, the time left; and where a resumed run goes on."""
    stop_in(monkeypatch, "CM", 35)
    monkeypatch.setattr(training, "LINE_SECONDS", 10)
    caplog.set_level("INFO", logger="icl_report")
    config = tiny(variants=("CM",))
    with pytest.raises(StoppedError):
        run(config, str(tmp_path))
    name = "1_position_and_mask/b1-seed0, CM: "
    lines = [record.getMessage() for record in caplog.records]
    assert [line.removeprefix(name).partition(",")[0] for line in lines] == [
        f"step {step} of 40" for step in (11, 22, 33)
    ]
    assert re.search(r"step 22 of 40, loss [\d.]+, target error [\d.]+, 00:18 left$", lines[1])
    caplog.clear()
    monkeypatch.undo()
    caplog.set_level("INFO", logger="icl_report")
    run(config, str(tmp_path))
    lines = [record.getMessage() for record in caplog.records]
    assert lines[0] == f"{name}resumed at step 35 of 40"
    assert lines[-1].startswith(f"{name}step 40 of 40, loss ") and len(lines) == 2


def test_a_person_sees_a_bar_instead(tiny, tmp_path, monkeypatch, caplog):
    """Variant, step, losses and time left; no lines between."""
    seen = io.StringIO()

    class Bar(tqdm):
        def __init__(self, **options):
            shown = {"disable": False, "file": seen, "mininterval": 0, "ncols": 150}
            super().__init__(**options | shown)

    monkeypatch.setattr(training, "tqdm", Bar)
    monkeypatch.setattr(training, "LINE_SECONDS", -1)
    caplog.set_level("INFO", logger="icl_report")
    run(tiny(variants=("CM",)), str(tmp_path))
    assert re.search(r"b1-seed0, CM: .*30/40 \[.*<.*loss [\d.]+, target error", seen.getvalue())
    assert caplog.records == []


def test_an_ablation_may_have_parameters_of_its_own_and_runs_of_every_function_class():
    own = {"b": [1], "seeds": [0, 1], "parameters": {"steps": 20, "log_every": 5}}
    other = {"b": [1], "seeds": [0]}
    ablations = {"6_function_classes": own, "1_position_and_mask": other}
    runs = status.runs_of({"out": ".", "ablations": ablations, "parameters": {"d": 3}})
    assert [run.steps for run in runs] == [20] * 8 + [10_000] and {run.d for run in runs} == {3}
    names = ["", "-sparse", "-network", "-tree"]
    assert [run.name for run in runs[:4]] == [f"b1-seed0{name}" for name in names]


@pytest.mark.parametrize(
    "lost, message",
    [
        ("parameters", "'parameters' is missing; grids/full.yaml shows"),
        ("seeds", "'seeds' is missing; grids/full.yaml shows"),
        ("ablation", "unknown ['1_position']; known: ['1_position_and_mask', "),
    ],
)
def test_a_grid_that_lacks_something_is_refused(lost, message, tmp_path, monkeypatch, capsys):
    runs = {"b": [1]} if lost == "seeds" else {"b": [1], "seeds": [0]}
    name = "1_position" if lost == "ablation" else "1_position_and_mask"
    grid = {"out": ".", "ablations": {name: runs}} | (
        {} if lost == "parameters" else {"parameters": {}}
    )
    (tmp_path / "own.yaml").write_text(yaml.dump(grid))
    monkeypatch.setattr(sys, "argv", ["status", str(tmp_path / "own.yaml")])
    with pytest.raises(SystemExit):
        status.main()
    assert message in capsys.readouterr().err
