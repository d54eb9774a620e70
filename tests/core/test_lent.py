"""The rehearsal of a machine that is lent for minutes; a process of its own here is a fork."""

import logging
import multiprocessing
import os
import subprocess
import sys
import tarfile
import time
from types import SimpleNamespace

import pytest
import yaml

from icl_core import fill, lent, records, sampler, training
from icl_core.config import Config

WORKERS = multiprocessing.get_context("forkserver")
WORKERS.set_forkserver_preload(["icl_core.training", "torch._dynamo", "pytest"])  # it imports late
BLOCK = {"setups": ["smoke"], "variants": ["SPE", "CM", "none"], "b": [1], "seeds": [3]}
CONFIGS = [Config(setup="smoke", variant=own, seed=3) for own in BLOCK["variants"]]


original = fill.train


def train(config, out):
    """In a process of its own: as fill's, with few prompts."""
    sampler.CHECK_PROMPTS = sampler.TEST_PROMPTS = 6
    original(config, out)


@pytest.fixture
def call(tmp_path, monkeypatch, few_prompts):
    """call(out, seconds left when the check begins, and each run) -> the variants recorded."""
    monkeypatch.setattr(lent, "get_context", lambda name: WORKERS)
    monkeypatch.setattr(lent, "check", str)  # has a test of its own
    monkeypatch.setattr(fill, "train", train)
    (tmp_path / "list.yaml").write_text(yaml.safe_dump({"blocks": [BLOCK]}))

    def call(out, *left):
        clock = iter([-100, *(-own for own in left)])
        command = ["fill", str(tmp_path / "list.yaml"), "--workers", "1", "--seconds", "100"]
        command += ["--out", str(tmp_path / out), "--tars", str(tmp_path / out / "tars")]
        with monkeypatch.context() as patch:
            patch.setattr(lent, "time", SimpleNamespace(monotonic=lambda: next(clock)))
            patch.setattr(sys, "argv", command)
            fill.main()
        return [own.variant for own in CONFIGS if records.find_run(str(tmp_path / out), own)]

    return call


def half_trained(config, out):
    """Trains two steps of four."""

    def stopping(*arguments):
        if arguments[-1] == 2:
            raise KeyboardInterrupt
        return update(*arguments)

    update = training.update
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(training, "CHECKPOINT_SECONDS", -1)
        patch.setattr(training, "update", stopping)
        training.run(config, out)


def unpack(tar, folder):
    """As the manual has it."""
    folder.mkdir(exist_ok=True)
    subprocess.run(["tar", "--skip-old-files", "-xf", tar, "-C", folder], check=True)


def test_a_call_that_is_out_of_time_packs_what_another_machine_goes_on_with(tmp_path, call, caplog):
    """One run is recorded, one stopped midway, one not begun; then all are, to the byte."""
    here, there = tmp_path / "here", tmp_path / "there"
    half_trained(CONFIGS[1], str(here))
    assert call("here", 100, 100, 0.01, 0) == ["SPE"]
    assert f"{CONFIGS[1].place}: its time is over" in caplog.text
    assert "recorded: 1 of 3" in caplog.text
    assert [path.name for path in (here / "tars").iterdir()] == ["records-1.tar"]
    unpack(here / "tars" / "records-1.tar", there)
    checkpoint = records.work_folder(str(there), CONFIGS[1]) / "checkpoint.safetensors"
    assert records.find_run(str(there), CONFIGS[0]) and checkpoint.exists()
    assert call("there", *[100] * 4) == ["SPE", "CM", "none"]
    assert not checkpoint.exists()
    unpack(there / "tars" / "records-1.tar", tmp_path / "home")
    for config in CONFIGS:
        ours = records.find_run(str(tmp_path / "home"), config)
        theirs = training.run(config, str(tmp_path / "undisturbed"))
        for name in ("weights.safetensors", "losses.safetensors", "curves.csv", "tests.csv"):
            assert (ours.folder / name).read_bytes() == (theirs.folder / name).read_bytes()


def test_a_run_that_kills_its_process_costs_no_other(tmp_path, call, caplog):
    """Here by a checkpoint that is garbage: its process ends with an error, and says so."""
    half_trained(CONFIGS[0], str(tmp_path / "out"))
    checkpoint = records.work_folder(str(tmp_path / "out"), CONFIGS[0]) / "checkpoint.safetensors"
    checkpoint.write_bytes(b"garbage")
    assert call("out", *[100] * 4) == ["CM", "none"]
    assert f"{CONFIGS[0].place}: its process ended with 1" in caplog.text


def test_a_check_that_fails_stops_it_before_anything_is_trained(tmp_path, call, monkeypatch):
    monkeypatch.setattr(lent, "check", int)  # of "cpu": a ValueError
    with pytest.raises(SystemExit, match="nothing was trained"):
        call("out", 100)
    assert not (tmp_path / "out").exists()


def test_what_the_project_s_own_data_hold_is_not_trained_elsewhere(tmp_path, call, monkeypatch):
    training.run(CONFIGS[1], str(tmp_path / "project"))
    monkeypatch.setattr(records, "PROJECT", tmp_path / "project")
    assert call("out", *[100] * 3) == ["SPE", "none"]


def test_the_check_knows_the_published_losses():
    lent.check("cpu")


def test_the_check_tells_which_loss_is_another(few_prompts):
    """Fewer prompts in the check before training shift all random numbers after them."""
    with pytest.raises(SystemExit, match=r"device = 'cpu': loss 1 is [\d.]+, published is [\d.]+"):
        lent.check("cpu")


@pytest.mark.parametrize(("code", "well"), [(0, True), (3, False)])
def test_a_process_of_its_own_is_a_fresh_one(caplog, code, well):
    """A fork would share its parent's GPU."""
    assert lent.apart("exit", time.monotonic() + 100, os._exit, code) == well
    assert ("exit: its process ended with 3" in caplog.text) == (not well)


def test_tars_hold_the_first_first_and_no_more_than_they_may(tmp_path, monkeypatch, caplog):
    """Six at most; what has no place in them is named."""
    monkeypatch.setattr(lent, "TAR_BYTES", 43_000)
    paths = [tmp_path / "data" / f"run {i}" for i in range(9)]
    for i, path in enumerate(paths):
        if i != 4:  # this one is missing
            path.mkdir(parents=True)
            (path / "weights").write_bytes(bytes(13_000 if i else 100))
    with caplog.at_level(logging.ERROR):
        lent.pack(paths, tmp_path, tmp_path / "tars")
    packed = {}
    for tar in sorted((tmp_path / "tars").iterdir()):
        assert tar.stat().st_size <= 43_000
        with tarfile.open(tar) as content:
            packed[tar.name] = [name for name in content.getnames() if "weights" not in name]
    names = [[f"data/run {i}" for i in own] for own in ([0, 1], [2], [3], [5], [6], [7])]
    assert packed == {f"records-{i}.tar": own for i, own in enumerate(names, start=1)}
    assert f"not packed, the tars are full: {paths[8]}" in caplog.text
