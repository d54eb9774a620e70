"""make status: what each run to record has come to."""

import subprocess
import sys

import pytest
import yaml

from icl_core import fill, records, training
from icl_report import status


class StoppedError(Exception):
    """What ends a run in its middle."""


@pytest.fixture
def listed(tmp_path):
    """A list of two blocks, four runs and one; and its file."""
    path = tmp_path / "list.yaml"
    blocks = [
        {"setups": ["smoke"], "variants": ["CM", "LPE"], "b": [1], "seeds": [0, 1]},
        {"setups": ["smoke"], "variants": ["SPE"], "b": [2], "seeds": [0]},
    ]
    path.write_text(yaml.safe_dump({"blocks": blocks}), encoding="utf-8")
    return list(fill.listed(path)), path


def stop_at(step, config, out, monkeypatch):
    """Trains up to that step, with a checkpoint behind each."""
    update = training.update

    def stopping(config, model, optimiser, draws, at):
        if at == step:
            raise StoppedError
        return update(config, model, optimiser, draws, at)

    with monkeypatch.context() as patch, pytest.raises(StoppedError):
        patch.setattr(training, "CHECKPOINT_SECONDS", -1)
        patch.setattr(training, "update", stopping)
        training.run(config, out)


def test_every_state_of_a_run_is_told(listed, tmp_path, monkeypatch):
    (recorded, running, interrupted, missing, other), path = listed
    out = str(tmp_path)
    training.run(recorded, out)
    for config in (running, interrupted):
        stop_at(3, config, out, monkeypatch)
    lock = records.work_folder(out, running).with_suffix(".lock")
    with records.held(lock):
        told = [status.state_of(out, config) for config in (recorded, interrupted, missing, other)]
        at_work = status.state_of(out, running)
        printed = subprocess.run(
            [sys.executable, "-m", "icl_report.status", str(path), "--out", out],
            cwd=records.PROJECT,
            capture_output=True,
            encoding="utf-8",
        ).stdout.splitlines()
    at = "step 3 of 4"
    assert told == ["recorded", f"interrupted, {at}", "missing", "missing"]
    assert at_work == f"running, {at}"
    assert printed == [
        "all: 1 of 5 recorded",
        "smoke, b = 1: 1 of 4 recorded",
        "smoke, b = 2: 0 of 1 recorded",
        f"  {running.place}: running, {at}",
        f"  {interrupted.place}: interrupted, {at}",
    ]


def test_looking_changes_nothing(listed, tmp_path):
    """No lock is made where none was; one that nobody holds is not taken for a run."""
    (config, *_), _ = listed
    before = sorted(tmp_path.rglob("*"))
    assert status.state_of(str(tmp_path), config) == "missing"
    assert sorted(tmp_path.rglob("*")) == before
    lock = records.work_folder(str(tmp_path), config).with_suffix(".lock")
    lock.parent.mkdir(parents=True)
    lock.touch()
    assert status.state_of(str(tmp_path), config) == "missing"


def test_a_run_that_has_just_begun_is_at_step_0(listed, tmp_path):
    (config, *_), _ = listed
    with records.held(records.work_folder(str(tmp_path), config).with_suffix(".lock")):
        assert status.state_of(str(tmp_path), config) == "running, step 0 of 4"
