"""A run: it learns, it can be killed at any time, it is trained once, and by one process."""

import hashlib
import itertools
import json
import logging
import math
import multiprocessing
import os
import random
import re
import resource
import shutil
import signal
import socket
import time
import timeit
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch

from icl_core import evaluation, kernels, records, sampler, training
from icl_core.config import Config
from icl_core.initial import initial_model
from icl_core.training import run, train

STEPS = 10
TINY = {"setup": "smoke", "steps": STEPS, "log_every": 4, "probe_every": 3}
TABLES = ("curves.csv", "probes.csv", "attention.csv", "errors.csv")
SOURCES_TABLES = ("checks.csv", "tests.csv")
each_kind = pytest.mark.parametrize("kind", ["torch", "numpy"])


def tiny(kind="torch", **changes):
    """Ten steps, with the random numbers of that kind."""
    return Config(**TINY | {"random_numbers": kind} | changes)


@pytest.fixture(autouse=True)
def quickly(monkeypatch, few_prompts):
    """Tiny runs would be over before the first checkpoint; few prompts in the source's tests."""
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", -1)


class StoppedError(Exception):
    """What ends a run in its middle."""


def stop(*_):
    raise StoppedError


def stepping(monkeypatch, before=lambda at: None):
    """The steps trained from here on; before(step) is called before each of them."""
    update, steps = training.update, []

    def watched(config, model, optimiser, draws, step):
        before(step)
        steps.append(step)
        return update(config, model, optimiser, draws, step)

    monkeypatch.setattr(training, "update", watched)
    return steps


def stop_before(step):
    return lambda at: stop() if at == step else None


def assert_same_run(ours, theirs):
    """Two recorded runs, to the byte, but for what says when and where they were made."""
    names = {path.name for path in theirs.folder.iterdir()}
    assert {path.name for path in ours.folder.iterdir()} == names
    for name in names - {"config.json", records.SUMS}:
        assert (ours.folder / name).read_bytes() == (theirs.folder / name).read_bytes(), name
    assert ours.config == theirs.config


def leftovers(out, config):
    """What is left in build/ of a run that is over."""
    return {path.name for path in records.work_folder(str(out), config).parent.iterdir()}


# What is trained and what is recorded of it.


@each_kind
@pytest.mark.parametrize("variant", ["SPE", "LPE + CM"])
def test_a_run_records_what_its_config_says(tmp_path, kind, variant):
    """Rows at every log_every and at the last step, at 0, probe_every, …; a loss a step."""
    config = tiny(kind, variant=variant, b=2)
    made = run(config, str(tmp_path))
    assert made.folder == tmp_path / "data" / config.place
    files = {path.name for path in made.folder.iterdir()}
    own = {*TABLES, *(SOURCES_TABLES if kind == "torch" else ())}
    assert files == own | {"config.json", "weights.safetensors", "losses.safetensors", "SHA256SUMS"}
    tables = {name: made.table(name) for name in own}
    for name, table in tables.items():
        assert list(table.columns) == records.COLUMNS[name]
        assert np.isfinite(table.to_numpy()).all()
    assert list(tables["curves.csv"].step) == [4, 8, 10]
    assert list(tables["probes.csv"].step) == [0, 3, 6, 9]
    keys = tables["attention.csv"].drop(columns=["y_to_x", "x_to_y"])
    expected = itertools.product((0, 3, 6, 9), (1, 2), (1, 2), (1, 2))
    assert list(keys.itertuples(index=False, name=None)) == [*expected]
    losses = made.tensors("losses.safetensors")
    assert losses.keys() == {"loss"} and losses["loss"].shape == (STEPS,)
    assert losses["loss"].dtype == torch.float32
    if kind == "torch":
        assert list(tables["checks.csv"].step) == [0, 3, 6, 9]
        assert list(tables["tests.csv"].launch) == [*range(1, 11)]
    shapes = {name: p.shape for name, p in initial_model(config)[0].named_parameters()}
    assert {n: w.shape for n, w in made.tensors("weights.safetensors").items()} == shapes


def test_the_last_step_has_one_row_where_it_divides(tmp_path):
    _, progress = train(tiny(steps=8), tmp_path / "checkpoint")
    assert [row[0] for row in progress.tables["curves.csv"]] == [4, 8]


def test_provenance_tells_how_a_run_was_made(tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    monkeypatch.setattr(records, "commit", lambda: "abc-dirty")
    told = run(tiny(), str(tmp_path)).provenance
    assert told["libraries"]["torch"] == torch.__version__
    assert told["libraries"].keys() == {"python", "torch", "numpy", "pandas", "safetensors"}
    assert (told["kernel"], told["commit"], told["slurm_job_id"]) == (
        kernels.name(),
        "abc-dirty",
        "17",
    )
    assert told["diverged"] is None and told["device"] == "cpu"
    assert told["wall_seconds"] >= 0 and told["steps_per_second"] > 0


@each_kind
def test_the_losses_are_those_before_the_updates_and_the_errors_those_after(tmp_path, kind):
    """Written out for two steps, with torch's own Adam; a row is the mean loss since the last."""
    config = tiny(kind, variant="SPE + CM", b=3, d=4, steps=2, log_every=2, lr=3e-3)
    model, after_weights = initial_model(config)
    draws = sampler.Draws(config, after_weights)
    prompts = sampler.evaluation_prompts(config).first(config.curve_prompts)
    optimiser, losses = torch.optim.Adam(model.parameters(), lr=3e-3, fused=False), []
    if kind == "torch":
        expected_check = evaluation.mean_iteration_error(model, draws.check())
    for step in range(2):
        tokens, answers = draws.batch(step)
        squared = (model(tokens, slice(None))[:, :, ::2] - answers) ** 2
        assert squared.shape == (3, 4, 4)  # iterations, prompts, x-tokens
        loss = squared.mean() / 4
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    errors = evaluation.target_errors(model, prompts, [3]).mean(axis=(1, 2))
    trained, progress = train(config, tmp_path / "checkpoint")
    assert progress.losses.tolist() == pytest.approx(losses, rel=1e-5)
    ((step, loss, error, mean_error),) = progress.tables["curves.csv"]
    assert step == 2 and loss == pytest.approx(sum(losses) / 2, rel=1e-5)
    assert (error, mean_error) == pytest.approx((errors[-1], errors.mean()), rel=1e-4)
    for name, weight in trained.named_parameters():
        if not name.endswith("qkv.bias"):  # softmax does not see the keys': see the next test
            torch.testing.assert_close(weight, dict(model.named_parameters())[name])
    if kind == "torch":
        assert progress.tables["checks.csv"] == [[0, pytest.approx(expected_check)]]


def test_the_update_is_adam_with_a_constant_rate(tmp_path):
    """Against torch's plain Adam on the same batches: no decay, no clipping, no schedule.

    The keys' biases shift a row of scores by a constant: their gradient is zero but for rounding,
    and Adam makes a full step of whatever is left.
    """
    config = tiny(variant="CM", lr=3e-3, steps=40, probe_every=100)
    model, after_weights = initial_model(config)
    draws = sampler.Draws(config, after_weights)
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3, fused=False, foreach=False)
    draws.check()
    for step in range(40):
        tokens, answers = draws.batch(step)
        optimiser.zero_grad()
        ((model(tokens)[0] - answers) ** 2 / config.d).mean().backward()
        optimiser.step()
    trained, _ = train(config, tmp_path / "checkpoint")
    for (name, ours), theirs in zip(trained.named_parameters(), model.parameters()):
        if name.endswith("qkv.bias"):
            ours, theirs = (bias[[*range(8), *range(16, 24)]] for bias in (ours, theirs))
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-3)


def test_the_curves_are_the_means_of_the_losses(tmp_path):
    """Not the last batch's alone, whose noise would hide the plateau; the last row's too."""
    _, fine = train(tiny(log_every=1), tmp_path / "fine")
    _, coarse = train(tiny(), tmp_path / "coarse")
    losses = [row[1] for row in fine.tables["curves.csv"]]
    assert losses == pytest.approx(fine.losses.tolist())
    assert torch.equal(fine.losses, coarse.losses)  # looking changes nothing
    expected = [np.mean(losses[:4]), np.mean(losses[4:8]), np.mean(losses[8:])]
    assert [row[1] for row in coarse.tables["curves.csv"]] == pytest.approx(expected)
    rows = {row[0]: row for row in fine.tables["curves.csv"]}
    assert [row[2:] for row in coarse.tables["curves.csv"]] == [rows[s][2:] for s in (4, 8, 10)]


@pytest.mark.parametrize("objective", ["query", "random k", "hidden"])
def test_a_loss_on_some_tokens_updates_as_one_written_out_on_them(objective):
    """One step; of the query here, of what the objective asks there."""
    config = tiny("numpy", objective=objective, variant="SPE", n_examples=5, seed=3)
    ours, theirs = (initial_model(config)[0] for _ in range(2))
    draws = sampler.Draws(config, torch.Generator())
    loss = training.update(config, ours, training.adam(config, ours), draws, 7)
    asked = training.objectives.asked(draws.batch(7), config, 7)
    optimiser = training.adam(config, theirs)
    predictions = theirs(asked.tokens, slice(None), change=asked.change)[:, :, asked.rows]
    expected = ((predictions - asked.answers) ** 2).mean() / config.d
    expected.backward()
    optimiser.step()
    assert loss == pytest.approx(expected.item(), rel=1e-5) and not loss.requires_grad
    for (name, mine), yours in zip(ours.named_parameters(), theirs.parameters()):
        torch.testing.assert_close(mine, yours, rtol=0, atol=2e-4, msg=name)


@pytest.mark.parametrize(("loss_over_d", "factor"), [(True, 1), (False, 4)])
def test_the_gradient_is_that_of_the_loss_or_of_d_times_it(loss_over_d, factor):
    """The loss that is recorded is the same."""
    config = tiny("numpy", variant="LPE + CM", d=4, loss_over_d=loss_over_d)
    ours, theirs = (initial_model(config)[0] for _ in range(2))
    draws = sampler.Draws(config, torch.Generator())
    loss = training.update(config, ours, torch.optim.SGD(ours.parameters(), lr=1), draws, 7)
    tokens, answers = draws.batch(7)
    expected = (theirs(tokens) - answers).square().mean() / 4
    (factor * expected).backward()
    assert loss == pytest.approx(expected.item(), rel=1e-6)
    for mine, yours in zip(ours.parameters(), theirs.parameters()):
        torch.testing.assert_close(mine, yours - yours.grad)


def test_a_run_draws_its_checks_between_its_steps(tmp_path, monkeypatch):
    """The source's order; with numpy's random numbers nothing is checked."""
    for kind in ("torch", "numpy"):
        drawn = []

        def check(self, drawn=drawn, original=sampler.Draws.check):
            drawn.append("check")
            return original(self)

        with monkeypatch.context() as patch:
            patch.setattr(sampler.Draws, "check", check)
            stepping(patch, drawn.append)
            train(tiny(kind, steps=6), tmp_path / kind)
        expected = ["check", 0, 1, 2, "check", 3, 4, 5, "check"]
        assert drawn == [own for own in expected if kind == "torch" or own != "check"]


def test_one_thread_a_run_and_the_old_number_afterwards():
    """The order of sums, and so the last bit, hangs on the number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.raises(StoppedError), training.one_thread(tiny()):
            assert torch.get_num_threads() == 1
            stop()
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_a_tiny_model_learns_in_context(tmp_path, monkeypatch):
    """d = 1 with the causal mask: it must use the examples, not only shrink its answers."""
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", 30)
    sizes = {"d": 1, "n_examples": 8, "width": 16, "mlp_width": 32, "batch_size": 64}
    recorded = {"log_every": 100, "probe_every": 1000, "evaluation_prompts": 512}
    config = tiny("numpy", variant="LPE + CM", steps=300, lr=1e-2, **sizes, **recorded)
    model, progress = train(config, tmp_path / "checkpoint")
    losses = [row[1] for row in progress.tables["curves.csv"]]
    assert losses[-1] < 0.5 * losses[0]
    errors = evaluation.target_errors(model, sampler.evaluation_prompts(config), [0, 8])[-1]
    no_examples, all_examples = errors.mean(axis=-1)
    assert all_examples < 0.3  # the zero predictor scores 1
    assert no_examples > 0.8  # nothing can be known without examples


def test_the_log_tells_where_a_run_is(tmp_path, caplog, monkeypatch):
    with caplog.at_level(logging.INFO, "icl_core.training"):
        with monkeypatch.context() as patch, pytest.raises(StoppedError):
            stepping(patch, stop_before(9))
            train(tiny(), tmp_path / "checkpoint")
        train(tiny(), tmp_path / "checkpoint")
    told = [record.getMessage() for record in caplog.records]
    first = "smoke/none/b1-seed42: step 1 of 10, "
    assert told[0].startswith(first) and re.search(r"10, \d+ minutes left$", told[0])
    assert re.search(r"step 8 of 10, loss [\d.]+, target error [\d.]+, \d+ minutes left", told[7])
    assert told[9] == "smoke/none/b1-seed42: resumed at step 9 of 10"
    assert told[-1].startswith("smoke/none/b1-seed42: step 10 of 10, loss ")


# A run that is finished.


def files_below(folder):
    """Every file: its bytes and when it was written."""
    below = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in below}


def test_a_finished_run_is_loaded_not_trained(tmp_path, monkeypatch):
    """What makes opening a notebook on a fresh clone take seconds."""
    first = run(tiny(), str(tmp_path))
    assert leftovers(tmp_path, tiny()) == {"b1-seed42.lock"}
    shutil.rmtree(tmp_path / "build")  # in a fresh clone there is none, and none is made
    before = files_below(tmp_path)
    monkeypatch.setattr(training, "train", stop)
    again = run(tiny(), str(tmp_path))
    assert files_below(tmp_path) == before and not (tmp_path / "build").exists()
    assert again.config == first.config and again.provenance == first.provenance
    pd.testing.assert_frame_equal(again.table("errors.csv"), first.table("errors.csv"))
    with pytest.raises(records.RecordError, match=r"lr = 0.0005 there, 0.001 here"):
        run(tiny(lr=1e-3), str(tmp_path))
    assert files_below(tmp_path) == before
    with pytest.raises(StoppedError):
        run(tiny(seed=1), str(tmp_path))


def test_a_run_whose_record_was_removed_is_trained_anew(tmp_path, monkeypatch):
    """As the refusal to overwrite says: not taken from what the old training left behind."""
    first = run(tiny(), str(tmp_path))
    shutil.rmtree(first.folder)
    steps = stepping(monkeypatch)
    run(tiny(), str(tmp_path))
    assert steps == [*range(STEPS)]


def test_a_recorded_model_is_the_one_that_was_trained(tmp_path):
    config = tiny(variant="LPE + CM", b=2)
    recorded = run(config, str(tmp_path))
    trained, _ = train(config, tmp_path / "checkpoint")
    model = training.recorded_model(recorded)
    for name, weight in trained.state_dict().items():
        assert torch.equal(model.state_dict()[name], weight), name
    prompts = sampler.evaluation_prompts(config)
    anew = evaluation.error_rows(model, prompts)
    np.testing.assert_allclose(anew, recorded.table("errors.csv"), rtol=1e-6)


def test_the_time_ahead_is_that_of_three_steps_and_leaves_no_trace(tmp_path, monkeypatch):
    """Six seconds the first, the fastest of the others two; a recorded run takes none."""
    took, timed = iter([6, 3, 2, 2.5]), timeit.Timer.timeit
    with monkeypatch.context() as patch:
        patch.setattr(timeit.Timer, "timeit", lambda *step: [timed(*step), next(took)][1])
        steps = stepping(patch)
        assert training.minutes_ahead(tiny(steps=600), str(tmp_path)) == pytest.approx(20)
    assert len(steps) == 4 and list(tmp_path.iterdir()) == []
    run(tiny(), str(tmp_path))
    assert training.minutes_ahead(tiny(), str(tmp_path)) == 0


# A run that is interrupted.


@each_kind
@pytest.mark.parametrize("at", [0, 3, 5, 8, 9])
def test_a_run_stopped_and_resumed_ends_as_if_it_had_not_been(tmp_path, monkeypatch, kind, at):
    """To the byte: weights, moments, random numbers, losses and tables all come back."""
    config = tiny(kind, variant="LPE + CM", b=2, objective="random k")
    undisturbed = run(config, str(tmp_path / "undisturbed"))
    out = str(tmp_path / "stopped")
    with monkeypatch.context() as patch, pytest.raises(StoppedError):
        stepping(patch, stop_before(at))
        run(config, out)
    assert records.find_run(out, config) is None
    steps = stepping(monkeypatch)
    assert_same_run(run(config, out), undisturbed)
    assert steps == [*range(at, STEPS)]
    assert leftovers(out, config) == {"b2-seed42.lock"}


@each_kind
def test_a_run_stopped_at_every_step_is_still_the_same(tmp_path, kind):
    config = tiny(kind)
    undisturbed = run(config, str(tmp_path / "undisturbed"))
    for at in range(1, STEPS):
        with pytest.MonkeyPatch.context() as patch, pytest.raises(StoppedError):
            stepping(patch, stop_before(at))
            run(config, str(tmp_path))
    assert_same_run(run(config, str(tmp_path)), undisturbed)


def test_a_stop_between_two_checkpoints_loses_the_steps_since_and_nothing_else(
    tmp_path, monkeypatch
):
    """Half a minute's: the clock here makes one after steps 4 and 8."""
    undisturbed = run(tiny(), str(tmp_path / "undisturbed"))
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", 30)
    clock = itertools.count(0, 10)
    with monkeypatch.context() as patch, pytest.raises(StoppedError):
        patch.setattr(training.time, "monotonic", lambda: next(clock))
        stepping(patch, stop_before(7))
        run(tiny(), str(tmp_path))
    steps = stepping(monkeypatch)
    assert_same_run(run(tiny(), str(tmp_path)), undisturbed)
    assert steps == [*range(4, STEPS)]


def test_the_seconds_of_all_attempts_are_counted(tmp_path, monkeypatch):
    """A second a look at the clock, whose readings are the starts' and one a step."""
    clock = itertools.count(100)
    monkeypatch.setattr(training.time, "monotonic", lambda: next(clock))
    with monkeypatch.context() as patch, pytest.raises(StoppedError):
        stepping(patch, stop_before(6))
        run(tiny(), str(tmp_path))
    told = run(tiny(), str(tmp_path)).provenance
    assert (told["wall_seconds"], told["steps_per_second"]) == (STEPS, 1.0)


def test_the_commit_is_that_of_the_code_that_began(tmp_path, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(StoppedError):
        patch.setattr(records, "commit", lambda: "first")
        stepping(patch, stop_before(6))
        run(tiny(), str(tmp_path))
    monkeypatch.setattr(records, "commit", lambda: "second")
    assert run(tiny(), str(tmp_path)).provenance["commit"] == "first"


def test_a_run_stopped_as_it_is_recorded_is_recorded_from_its_checkpoint(tmp_path, monkeypatch):
    undisturbed = run(tiny(), str(tmp_path / "undisturbed"))
    with monkeypatch.context() as patch, pytest.raises(StoppedError):
        patch.setattr(records, "write_run", stop)
        run(tiny(), str(tmp_path))
    steps = stepping(monkeypatch)
    assert_same_run(run(tiny(), str(tmp_path)), undisturbed)
    assert steps == []


# Divergence.

WILD = {"lr": 100.0, "steps": 60, "log_every": 20, "probe_every": 20, "variant": "LPE + CM"}


@pytest.mark.filterwarnings("ignore:The BCa confidence interval")  # of nan there is none
@each_kind
def test_a_run_that_diverges_ends_there_and_is_recorded(tmp_path, kind, monkeypatch):
    """A result like any other: no crash, no silence, no row beyond it."""
    poison(monkeypatch, 25)
    config = tiny(kind, **WILD | {"lr": 1e-3})
    recorded = run(config, str(tmp_path))
    assert recorded.provenance["diverged"] == 40
    losses = recorded.tensors("losses.safetensors")["loss"]
    assert len(losses) == 40 and losses[:25].isfinite().all() and not losses[25:].isfinite().any()
    curves = recorded.table("curves.csv")
    assert list(curves.step) == [20, 40]
    assert list(np.isfinite(curves.training_loss)) == [True, False]
    assert list(recorded.table("probes.csv").step) == [0, 20, 40]
    assert recorded.table("errors.csv").error.isna().all()
    assert records.find_run(str(tmp_path), config).provenance["diverged"] == 40


def poison(monkeypatch, at):
    """From this step on the weights are not numbers."""
    update = training.update

    def poisoned(config, model, optimiser, draws, step):
        if step == at:
            with torch.no_grad():
                model.read_in.weight.fill_(math.nan)
        return update(config, model, optimiser, draws, step)

    monkeypatch.setattr(training, "update", poisoned)


def test_a_learning_rate_far_too_high_is_a_result_too(tmp_path):
    """Whether its loss overflows or is only large, it is recorded."""
    recorded = run(tiny(**WILD, b=5), str(tmp_path))
    losses = recorded.tensors("losses.safetensors")["loss"]
    diverged = recorded.provenance["diverged"]
    assert len(losses) == (diverged or 60)
    assert bool(losses.isfinite().all()) == (diverged is None) and not losses.max() < 1e3


@pytest.mark.filterwarnings("ignore:The BCa confidence interval")  # of nan there is none
def test_divergence_survives_a_stop(tmp_path, monkeypatch):
    """Resumed as the record is written, the run stays over."""
    with monkeypatch.context() as patch, pytest.raises(StoppedError):
        poison(patch, 5)
        patch.setattr(records, "write_run", stop)
        run(tiny(), str(tmp_path))
    steps = stepping(monkeypatch)
    assert run(tiny(), str(tmp_path)).provenance["diverged"] == 8 and steps == []


# Checkpoints that are not this run's.


@pytest.fixture
def half(tmp_path, monkeypatch):
    """The checkpoint of a run's first six steps."""
    checkpoint = tmp_path / "checkpoint.safetensors"
    with monkeypatch.context() as patch, pytest.raises(StoppedError):
        stepping(patch, stop_before(6))
        train(tiny(), checkpoint)
    return checkpoint


def refusal(config, checkpoint):
    """The message with which a checkpoint is refused; no step is made, the file is left alone."""
    before = checkpoint.read_bytes()
    with pytest.MonkeyPatch.context() as patch, pytest.raises(records.RecordError) as raised:
        steps = stepping(patch)
        train(config, checkpoint)
    assert steps == [] and checkpoint.read_bytes() == before
    message = str(raised.value)
    assert message.startswith(f"{checkpoint} cannot be resumed from: ")
    assert message.endswith("Remove it to train from the start.")
    return message


@pytest.mark.parametrize("length", [0, 4, 31, 32, 100, -33, -1])
def test_a_checkpoint_that_is_cut_short_is_refused(half, length):
    """Empty, in the header's length, in the header, before and in its sum."""
    half.write_bytes(half.read_bytes()[:length])
    assert "damaged" in refusal(tiny(), half)


def test_garbage_is_no_checkpoint(half):
    """Random bytes, text, and a safetensors file of something else."""
    for content in (random.Random(0).randbytes(5000), b"not a checkpoint\n" * 50):
        half.write_bytes(content)
        refusal(tiny(), half)
    safetensors.torch.save_file({"x": torch.zeros(3)}, half)
    refusal(tiny(), half)


def signed(path, content):
    """As a program would write it: its sum is right."""
    path.write_bytes(content + hashlib.sha256(content).digest())


@pytest.mark.parametrize("content", [b"", b"\0" * 8, b"{}", random.Random(1).randbytes(999)])
def test_nor_is_signed_garbage(half, content):
    signed(half, content)
    refusal(tiny(), half)


@pytest.mark.parametrize(
    "part", ["weights/", "mean/blocks.0", "square/read_in", "random", "loss", "of", "progress"]
)
def test_a_checkpoint_that_lacks_something_is_refused(half, part):
    """Every tensor and every entry is needed to go on bit for bit."""
    content = half.read_bytes()[:-32]
    tensors = safetensors.torch.load(content)
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    metadata = header["__metadata__"]
    assert part in metadata or any(name.startswith(part) for name in tensors)
    metadata.pop(part, None)
    kept = {name: tensor for name, tensor in tensors.items() if not name.startswith(part)}
    signed(half, safetensors.torch.save(kept, metadata))
    refusal(tiny(), half)


def test_a_checkpoint_damaged_anywhere_is_refused(half):
    """A bit in each part: header, tensors, sum."""
    content, rng = half.read_bytes(), random.Random(0)
    places = [*range(0, 1200, 53), *(rng.randrange(len(content)) for _ in range(40)), -1]
    for place in places:
        damaged = bytearray(content)
        damaged[place] ^= 1 << rng.randrange(8)
        half.write_bytes(damaged)
        assert "its checksum is wrong" in refusal(tiny(), half), place


@pytest.mark.parametrize(
    "changes",
    [
        *({"seed": 1}, {"lr": 1e-3}, {"batch_size": 9}, {"width": 16}, {"variant": "CM"}),
        *({"b": 2}, {"setup": "smoke+query"}, {"kind": "numpy"}),
    ],
    ids=str,
)
def test_a_checkpoint_of_another_configuration_is_refused(half, changes):
    """Even where every tensor fits: both digests are told."""
    message = refusal(tiny(**changes), half)
    assert tiny().digest() in message and tiny(**changes).digest() in message


@pytest.mark.parametrize("name", ["torch", "numpy"])
def test_a_checkpoint_of_another_library_is_refused_by_both_names(half, monkeypatch, name):
    """The last bit hangs on it, and numpy draws the batches; which to install is said."""
    library = {"torch": torch, "numpy": np}[name]
    here = library.__version__
    monkeypatch.setattr(library, "__version__", "9.9.9")
    message = refusal(tiny(), half)
    assert f"'{name}': '{here}'" in message and f"'{name}': '9.9.9'" in message


def test_a_checkpoint_of_another_kernel_is_refused_by_both_names(half, monkeypatch):
    here = kernels.name()
    monkeypatch.setattr(kernels, "name", lambda device: "another-1")
    message = refusal(tiny(), half)
    assert f"'kernel': {here!r}" in message and "'kernel': 'another-1'" in message


# Full disks and folders that cannot be written.


@contextmanager
def file_size_limit(size):
    """No file of this process may grow beyond size: what a full disk does to a write."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def full(*_):
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("how", ["limit", "fsync", "replace"])
def test_a_full_disk_at_a_checkpoint_leaves_the_last_one(tmp_path, monkeypatch, how):
    """And no part of the new one; training goes on from there, to the same end."""
    undisturbed, save = run(tiny(), str(tmp_path / "undisturbed")), training.save

    def filling(*state):
        if state[-1].step < 7:
            return save(*state)
        if how == "limit":
            with file_size_limit(1000):
                return save(*state)
        monkeypatch.setattr(os, how, full)
        return save(*state)

    original = os.fsync, os.replace
    monkeypatch.setattr(training, "save", filling)
    with pytest.raises(OSError):
        run(tiny(), str(tmp_path))
    monkeypatch.setattr(os, "fsync", original[0])
    monkeypatch.setattr(os, "replace", original[1])
    monkeypatch.setattr(training, "save", save)
    folder = records.work_folder(str(tmp_path), tiny())
    assert [path.name for path in folder.iterdir()] == ["checkpoint.safetensors"]
    steps = stepping(monkeypatch)
    assert_same_run(run(tiny(), str(tmp_path)), undisturbed)
    assert steps == [6, 7, 8, 9]


def test_a_full_disk_at_the_record_loses_no_step(tmp_path, monkeypatch):
    """No part of the record stays; the checkpoint does, and the record is made from it."""
    undisturbed, write_run = run(tiny(), str(tmp_path / "undisturbed")), records.write_run

    def filling(*arguments):
        with file_size_limit(1000):
            return write_run(*arguments)

    with monkeypatch.context() as patch, pytest.raises(OSError):
        patch.setattr(records, "write_run", filling)
        run(tiny(), str(tmp_path))
    assert list(records.run_folder(str(tmp_path), tiny()).parent.iterdir()) == []
    steps = stepping(monkeypatch)
    assert_same_run(run(tiny(), str(tmp_path)), undisturbed)
    assert steps == []


def test_a_folder_that_cannot_be_written_is_told_before_anything_is_trained(tmp_path, monkeypatch):
    (tmp_path / "build").write_text("a file where a folder has to be")
    steps = stepping(monkeypatch)
    with pytest.raises(OSError, match=re.escape(str(tmp_path / "build"))):
        run(tiny(), str(tmp_path))
    assert steps == []


# Other processes, and such as are killed. One imports torch, each that is killed is a fork of it.

WORKERS = multiprocessing.get_context("forkserver")
WORKERS.set_forkserver_preload(["icl_core.training", "torch._dynamo", "pytest"])  # it imports late


def work(config, out, fault):
    """In a process of its own: trains, with a checkpoint at every step, under a fault."""
    training.CHECKPOINT_SECONDS = -1
    sampler.CHECK_PROMPTS = sampler.TEST_PROMPTS = 6
    FAULTS[fault]()
    run(config, str(out))


def kill_when(owner, name, call):
    """The process kills itself as it enters that call."""
    original, calls = getattr(owner, name), itertools.count(1)

    def deadly(*arguments, **options):
        if next(calls) == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments, **options)

    setattr(owner, name, deadly)


def go_slowly():
    """As SLURM starts it, and a step takes a fifth of a second: a signal finds it in its middle."""
    os.environ["SLURM_JOB_ID"] = "4711"
    update = training.update
    training.update = lambda *arguments: [update(*arguments), time.sleep(0.2)][0]


FAULTS = {
    "none": lambda: None,
    "slowly": go_slowly,
    "in a step": lambda: kill_when(training, "update", 6),
    "a checkpoint is written, not on the disk": lambda: kill_when(os, "fsync", 6),
    "a checkpoint is not yet renamed": lambda: kill_when(os, "replace", 6),
    "a record lacks its weights": lambda: kill_when(records.safetensors.torch, "save", STEPS + 1),
    "a record lacks its checksums": lambda: kill_when(records, "write_sums", 1),
    "a record lacks its name": lambda: kill_when(Path, "rename", 1),
    "a record has its name, the checkpoint is still there": lambda: kill_when(
        training.shutil, "rmtree", 2
    ),
}


@contextmanager
def worker(config, out, fault):
    """A process that trains; what is left of it is killed in the end."""
    process = WORKERS.Process(target=work, args=(config, out, fault))
    process.start()
    try:
        yield process
    finally:
        process.kill()
        process.join()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The run as it is when nothing happens."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sampler, "CHECK_PROMPTS", 6)
        patch.setattr(sampler, "TEST_PROMPTS", 6)
        return run(tiny(variant="SPE"), str(tmp_path_factory.mktemp("undisturbed")))


@pytest.mark.parametrize("moment", list(FAULTS)[2:])
def test_a_run_killed_at_a_dangerous_moment_goes_on_to_the_byte(tmp_path, undisturbed, moment):
    """SIGKILL: no handler runs. The record is there whole, or not at all; nothing else is left."""
    config = tiny(variant="SPE")
    with worker(config, tmp_path, moment) as process:
        process.join(300)
        assert process.exitcode == -signal.SIGKILL
    named = records.run_folder(str(tmp_path), config).exists()
    assert named == (moment == "a record has its name, the checkpoint is still there")
    assert (records.find_run(str(tmp_path), config) is not None) == named
    assert_same_run(run(config, str(tmp_path)), undisturbed)
    place = records.run_folder(str(tmp_path), config)
    assert [path.name for path in place.parent.iterdir()] == [place.name]
    work_folder = records.work_folder(str(tmp_path), config)
    assert not work_folder.exists() or named


@pytest.fixture(scope="module")
def seconds(tmp_path_factory):
    """How long a worker takes for the run."""
    with worker(tiny(variant="SPE"), tmp_path_factory.mktemp("timed"), "none") as process:
        began = time.monotonic()
        process.join()
        assert process.exitcode == 0
        return time.monotonic() - began


@pytest.mark.long
@pytest.mark.parametrize("trial", range(20))
def test_a_run_killed_at_a_random_moment_goes_on_to_the_byte(tmp_path, undisturbed, seconds, trial):
    config = tiny(variant="SPE")
    with worker(config, tmp_path, "none") as process:
        process.join(random.Random(trial).uniform(0, seconds))
    records.find_run(str(tmp_path), config)  # raises RecordError if a part passes for the whole
    assert_same_run(run(config, str(tmp_path)), undisturbed)
    place = records.run_folder(str(tmp_path), config)
    assert [path.name for path in place.parent.iterdir()] == [place.name]


def wait_until(happened):
    """Five minutes at the most: the machine may be busy with hours of training."""
    deadline = time.monotonic() + 300
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_second_process_is_told_who_trains_the_run(tmp_path, monkeypatch, undisturbed):
    """Host, process, since when and job; nothing is touched. The dead one's lock holds nobody."""
    config = tiny(variant="SPE")
    folder = records.work_folder(str(tmp_path), config)
    with worker(config, tmp_path, "slowly") as process:
        wait_until((folder / "checkpoint.safetensors").exists)
        with pytest.raises(records.HeldError) as raised:
            run(config, str(tmp_path))
        message = str(raised.value)
        assert f"b1-seed42 is being trained by process {process.pid} on" in message
        assert socket.gethostname() in message and "SLURM job 4711" in message
        assert re.search(r"since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d", message)
        run(tiny(variant="SPE", seed=1), str(tmp_path))  # another run is nobody's business
        process.kill()
        process.join()
    assert folder.with_suffix(".holder").exists()
    steps = stepping(monkeypatch)
    assert_same_run(run(config, str(tmp_path)), undisturbed)
    assert 0 < len(steps) < STEPS
    assert not folder.with_suffix(".holder").exists() and not folder.exists()


def test_a_lock_that_says_nothing_yet_holds_all_the_same(tmp_path):
    """Its holder has it, and is about to write who it is."""
    lock = records.work_folder(str(tmp_path), tiny()).with_suffix(".lock")
    with records.held(lock):
        lock.with_suffix(".holder").unlink()
        with pytest.raises(records.HeldError, match="is being trained by another process"):
            run(tiny(), str(tmp_path))


def test_a_run_that_another_process_finished_meanwhile_is_not_trained_again(tmp_path, monkeypatch):
    """It was missing when this one looked, and recorded when it had the lock."""
    held = records.held

    @contextmanager
    def held_late(path):
        with monkeypatch.context() as patch:
            patch.setattr(records, "held", held)
            run(tiny(), str(tmp_path))  # the other process
        monkeypatch.setattr(training, "train", stop)
        with held(path):
            yield

    monkeypatch.setattr(records, "held", held_late)
    assert run(tiny(), str(tmp_path)).config == tiny()
    assert training.train is stop  # it came so far
