"""Kills, full disks, damaged files, a second process: nothing is lost, nothing broken believed.

KILLS is how many random moments a run is killed at: three in `make test`, twenty in
`make test-faults`.
"""

import errno
import itertools
import json
import multiprocessing
import os
import pickle
import random
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import jupytext
import nbformat
import pytest
import safetensors.torch
import torch
import yaml
from conftest import TINY

from icl_report import checkpoints, files, locks, pages, places, records, training
from icl_report.checkpoints import CheckpointError
from icl_report.config import VARIANTS, Config, ConfigError
from icl_report.training import run, train

KILLS = int(os.environ.get("KILLS", 3))
CM = (VARIANTS["CM"],)
# One process imports torch, and each process to be killed is a fork of it.
WORKERS = multiprocessing.get_context("forkserver")
WORKERS.set_forkserver_preload(["icl_report.training", "pytest", "nbformat"])


@pytest.fixture(autouse=True)
def checkpoint_at_every_step(monkeypatch):
    """Tiny runs would be over before the first checkpoint."""
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", -1)


@pytest.fixture(scope="module")
def config(tiny):
    """Two variants, twenty steps."""
    return tiny(steps=20, log_every=5)


@pytest.fixture(scope="module")
def undisturbed(config, tmp_path_factory):
    """The run as it is when nothing happens."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "CHECKPOINT_SECONDS", -1)
        return run(config, str(tmp_path_factory.mktemp("undisturbed")))


def assert_resumes(config, out, undisturbed):
    """The run ends as the undisturbed one to the byte, and nothing else is left of it."""
    resumed = run(config, str(out))
    for name in (*records.COLUMNS, "weights.safetensors"):
        assert (resumed.folder / name).read_bytes() == (undisturbed.folder / name).read_bytes()
    assert [path.name for path in resumed.folder.parent.iterdir()] == [config.name]
    assert list(places.lock_file(str(out), config).parent.iterdir()) == []


def stepping(monkeypatch, before=lambda at: None):
    """The steps trained from here on; before(step) is called before each of them."""
    update, steps = training.update, []

    def watched(config, model, optimiser, at):
        before(at)
        steps.append(at)
        return update(config, model, optimiser, at)

    monkeypatch.setattr(training, "update", watched)
    return steps


# Processes that are killed.


def work(config, out, started, fault, *arguments):
    """In a process of its own: trains, with a checkpoint at every step, under a fault."""
    training.CHECKPOINT_SECONDS = -1
    fault(*arguments)
    started.set()
    run(config, str(out))


def no_fault():
    """It is left to run, or killed from outside."""


@contextmanager
def worker(config, out, fault=no_fault, *arguments):
    """A process that trains; what is left of it is killed in the end."""
    started = WORKERS.Event()
    process = WORKERS.Process(target=work, args=(config, out, started, fault, *arguments))
    process.start()
    try:
        assert started.wait(300)
        yield process
    finally:
        process.kill()
        process.join()


@pytest.fixture(scope="module")
def seconds(config, tmp_path_factory):
    """How long a worker takes for the run."""
    with worker(config, tmp_path_factory.mktemp("timed")) as process:
        began = time.monotonic()
        process.join()
        assert process.exitcode == 0
        return time.monotonic() - began


@pytest.mark.parametrize("trial", range(KILLS))
def test_a_run_killed_at_a_random_moment_is_resumed_to_the_byte(
    config, tmp_path, undisturbed, seconds, trial
):
    """SIGKILL: no handler runs. The record is there whole, or not at all."""
    moment = random.Random(trial).uniform(0, seconds)
    with worker(config, tmp_path) as process:
        process.join(moment)
        process.kill()
        process.join()
    assert not locks.is_held(places.lock_file(str(tmp_path), config))
    records.find_run(str(tmp_path), config)  # raises RecordError if a part passes for the whole
    assert_resumes(config, tmp_path, undisturbed)


MOMENTS = {
    "a checkpoint is written, not on the disk": (os, "fsync", 5),
    "a checkpoint is not yet renamed": (os, "replace", 9),
    "a record lacks its weights": (records.safetensors.torch, "save", 41),
    "a record lacks its checksums": (records, "write_sums", 1),
    "a record lacks its name": (Path, "rename", 1),
    "a record has its name, the checkpoints are still there": (training.shutil, "rmtree", 2),
}


def kill_when(moment):
    """The process kills itself as it enters that call."""
    owner, name, call = MOMENTS[moment]
    original, calls = getattr(owner, name), itertools.count(1)

    def deadly(*arguments, **options):
        if next(calls) == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments, **options)

    setattr(owner, name, deadly)


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_run_killed_at_a_dangerous_moment_is_resumed_to_the_byte(
    config, tmp_path, undisturbed, moment
):
    """Where a half-written file, a folder or a forgotten one could pass for a good one."""
    with worker(config, tmp_path, kill_when, moment) as process:
        process.join(300)
        assert process.exitcode == -signal.SIGKILL
    named = records.run_folder(str(tmp_path), config).exists()
    assert named == (moment == "a record has its name, the checkpoints are still there")
    assert_resumes(config, tmp_path, undisturbed)


# Ctrl-C and a scheduler's time limit.


class StoppedError(Exception):
    """What the outer handler of a test raises."""


@contextmanager
def handlers(**by_name):
    """Signal handlers, put back afterwards."""
    before = {n: signal.signal(getattr(signal, n), handler) for n, handler in by_name.items()}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(getattr(signal, name), handler)


def stop(*_):
    raise StoppedError


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("at", [0, 4, 7])
def test_a_signal_ends_the_step_saves_it_and_does_what_it_did_before(
    config, tmp_path, monkeypatch, caplog, undisturbed, name, at
):
    """Before the first row of the curves, at a row and between two; to the bit from there on."""
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", 30)
    number = getattr(signal, name)
    with monkeypatch.context() as patch, handlers(**{name: stop}):
        stepping(patch, lambda step: os.kill(os.getpid(), number) if step == at else None)
        with pytest.raises(StoppedError):
            run(config, str(tmp_path))
        assert signal.getsignal(number) is stop
    expected = f"1_position_and_mask/b1-seed0, CM: {name}, saved at step {at + 1}; run it again"
    assert expected in caplog.text
    assert not records.run_folder(str(tmp_path), config).exists()
    steps = stepping(monkeypatch)
    assert_resumes(config, tmp_path, undisturbed)
    assert steps == [*range(at + 1, 20), *range(20)]


def test_signals_that_come_together_leave_a_step_too(config, tmp_path, monkeypatch, undisturbed):
    """A scheduler stops the kernel, and papermill, which it stops as well, interrupts it."""
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", 30)
    both = (signal.SIGTERM, signal.SIGINT)
    with monkeypatch.context() as patch, handlers(SIGTERM=stop):
        calls = stepping(patch, lambda _: [os.kill(os.getpid(), number) for number in both])
        with pytest.raises(StoppedError):
            run(config, str(tmp_path))
    assert calls == [0]
    steps = stepping(monkeypatch)
    assert_resumes(config, tmp_path, undisturbed)
    assert steps == [*range(1, 20), *range(20)]


def test_a_handler_that_returns_does_not_pass_a_part_for_the_whole(config, tmp_path, monkeypatch):
    """Some programs only take note of SIGTERM."""
    stepping(monkeypatch, lambda _: os.kill(os.getpid(), signal.SIGTERM))
    with handlers(SIGTERM=lambda *_: None), pytest.raises(KeyboardInterrupt, match="at step 1;"):
        run(config, str(tmp_path))


def test_an_ignored_signal_stays_ignored(config, tmp_path, monkeypatch, undisturbed):
    """As in a shell's background job, which Ctrl-C is not meant for."""
    calls = stepping(monkeypatch, lambda _: os.kill(os.getpid(), signal.SIGINT))
    with handlers(SIGINT=signal.SIG_IGN):
        assert_resumes(config, tmp_path, undisturbed)
    assert len(calls) == 40


def test_a_run_in_another_thread_trains_too(config, tmp_path, undisturbed):
    """Only the main thread may set handlers."""
    thread = threading.Thread(target=run, args=(config, str(tmp_path)))
    thread.start()
    thread.join()
    assert_resumes(config, tmp_path, undisturbed)


def test_sigterm_ends_a_process_as_ever_but_saved(config, tmp_path, monkeypatch, undisturbed):
    """Its exit status still says SIGTERM: a scheduler must not take it for a success."""
    checkpoint = places.checkpoint_folder(str(tmp_path), config) / "cm.safetensors"
    with worker(config, tmp_path, go_slowly) as process:
        wait_until(checkpoint.exists)
        process.terminate()
        process.join(300)
        assert process.exitcode == -signal.SIGTERM
    steps = stepping(monkeypatch)
    assert_resumes(config, tmp_path, undisturbed)
    assert 0 < len(steps) < 40


def wait_until(happened):
    """Five minutes at the most: the machine may be busy with hours of training."""
    deadline = time.monotonic() + 300
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def go_slowly():
    """A step takes a fifth of a second, so that a signal finds the run in its middle."""
    update = training.update
    training.update = lambda *arguments: [update(*arguments), time.sleep(0.2)][0]


INTERRUPTED = """
import os, signal, time
from pathlib import Path
from icl_report import training
from icl_report.config import Config

config, update = Config(**{parameters!r}), training.update
def interrupted(config, model, optimiser, at):
    if at == 7:
        os.kill(os.getpid(), signal.SIGINT)  # as Jupyter's "interrupt kernel" does
    return update(config, model, optimiser, at)
training.update = interrupted
try:
    training.run(config, {out!r})
except KeyboardInterrupt:
    assert (Path({out!r}) / "build").exists()
"""
RESUMED = """
def slow(config, model, optimiser, at):
    assert at >= 8 or model.variants[0].name == "LPE"
    if at == 3:
        Path({reached!r}).touch()
        time.sleep(1)
    return update(config, model, optimiser, at)
training.update = slow
training.run(config, {out!r})
"""


def test_jupyter_and_papermill_interrupt_a_run_that_resumes(
    config, tmp_path, monkeypatch, undisturbed
):
    """A kernel is interrupted, the next cell goes on from there; then SLURM stops papermill."""
    out, reached = tmp_path / "out", tmp_path / "reached"
    names = {"parameters": config.model_dump(mode="json"), "out": str(out), "reached": str(reached)}
    cells = [nbformat.v4.new_code_cell(text.format(**names)) for text in (INTERRUPTED, RESUMED)]
    notebook = nbformat.v4.new_notebook(cells=cells)
    nbformat.write(notebook, tmp_path / "in.ipynb")
    command = [sys.executable, "-m", "icl_report.execute", "in.ipynb", "out.ipynb", "-k", "python3"]
    papermill = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        wait_until(lambda: reached.exists() or papermill.poll() is not None)
        papermill.terminate()
        said = papermill.communicate(timeout=60)[0]
    finally:
        papermill.kill()
        papermill.wait()
    assert papermill.returncode and "the kernel saves its step" in said, said
    wait_until(lambda: not locks.is_held(places.lock_file(str(out), config)))
    steps = stepping(monkeypatch)
    assert_resumes(config, out, undisturbed)
    assert steps == [*range(4, 20)]


# Two processes.


def test_a_second_process_is_told_who_trains_the_run(config, tmp_path, monkeypatch, undisturbed):
    """Host, process, since when and job; nothing is touched. The dead one's lock holds nobody."""
    lock = places.lock_file(str(tmp_path), config)
    with worker(config, tmp_path, be_a_job) as process:
        wait_until(lambda: locks.read(lock))
        assert locks.is_held(lock)
        with pytest.raises(locks.HeldError) as raised:
            run(config, str(tmp_path))
        message = str(raised.value)
        assert f"b1-seed0 is being trained by process {process.pid} on" in message
        assert socket.gethostname() in message and "SLURM job 4711" in message
        assert re.search(r"since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d", message)
        assert locks.read(lock)["variants"] == ["CM", "LPE"]
        run(config.model_copy(update={"seed": 1, "variants": ("CM",)}), str(tmp_path))
        process.kill()
        process.join()
    assert lock.exists() and not locks.is_held(lock)
    shutil.rmtree(records.run_folder(str(tmp_path), config).with_name("b1-seed1"))
    assert_resumes(config, tmp_path, undisturbed)


def be_a_job():
    """As SLURM starts it, and slow."""
    os.environ["SLURM_JOB_ID"] = "4711"
    go_slowly()


def test_a_lock_that_says_nothing_yet_holds_all_the_same(config, tmp_path):
    """Its holder has it, and is about to write who it is."""
    lock = places.lock_file(str(tmp_path), config)
    lock.parent.mkdir(parents=True)
    with open(lock, "w") as file:
        locks.fcntl.flock(file, locks.fcntl.LOCK_EX)
        with pytest.raises(locks.HeldError, match="another process, which has just started"):
            run(config, str(tmp_path))


def test_without_locks_in_the_file_system_a_run_warns_and_trains(
    config, tmp_path, monkeypatch, caplog, undisturbed
):
    """Some network file systems are mounted so."""

    def unsupported(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(locks.fcntl, "flock", unsupported)
    assert_resumes(config, tmp_path, undisturbed)
    assert "no locks here" in caplog.text and "No locks available" in caplog.text


# A full disk.


@contextmanager
def file_size_limit(size):
    """No file of this process may grow beyond size: what a full disk does to a write."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_at_a_checkpoint_leaves_the_last_one(
    config, tmp_path, monkeypatch, undisturbed
):
    """The error names the file and says what to do; training goes on from the last good one."""
    save = checkpoints.save

    def filling(path, *rest):
        if rest[-1].step == 13:
            with file_size_limit(1000):
                return save(path, *rest)
        return save(path, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "save", filling)
        with pytest.raises(OSError, match="it was not written") as raised:
            run(config, str(tmp_path))
    folder = places.checkpoint_folder(str(tmp_path), config)
    assert str(folder / "cm.safetensors") in str(raised.value)
    assert "Make room" in str(raised.value) and raised.value.errno == errno.EFBIG
    assert [path.name for path in folder.iterdir()] == ["cm.safetensors"]
    steps = stepping(monkeypatch)
    assert_resumes(config, tmp_path, undisturbed)
    assert steps == [*range(12, 20), *range(20)]


def test_a_full_disk_at_the_start_is_told_before_anything_is_trained(
    config, tmp_path, monkeypatch, undisturbed
):
    """The first thing that is written is the lock."""
    with monkeypatch.context() as patch, file_size_limit(0):
        steps = stepping(patch)
        with pytest.raises(OSError, match=r"nothing was trained .*b1-seed0\.lock"):
            run(config, str(tmp_path))
    assert steps == []
    assert_resumes(config, tmp_path, undisturbed)


def test_a_full_disk_at_the_record_loses_no_step(config, tmp_path, monkeypatch, undisturbed):
    """No part of the record stays; the checkpoints do, and the record is made from them."""
    write_run = records.write_run

    def filling(*arguments):
        with file_size_limit(1000):
            return write_run(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(records, "write_run", filling)
        with pytest.raises(OSError, match="it was not written"):
            run(config, str(tmp_path))
    assert list(records.run_folder(str(tmp_path), config).parent.iterdir()) == []
    steps = stepping(monkeypatch)
    assert_resumes(config, tmp_path, undisturbed)
    assert steps == []


def test_a_full_disk_at_the_pages_leaves_the_old_ones(tmp_path):
    """A figure, and README's headline: what stood there stands there still."""
    svg, name = "<svg>new</svg>" + " " * 2000, {"name": "curves", "language": "en"}
    told = {"language": "en", "role": "headline"}
    outputs = [
        nbformat.v4.new_output("display_data", {"image/svg+xml": svg}, metadata=name),
        nbformat.v4.new_output("display_data", {"text/markdown": "x" * 2000}, metadata=told),
    ]
    cell = nbformat.v4.new_code_cell("", outputs=outputs)
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), tmp_path / "a.ipynb")
    figure, readme = tmp_path / "figures" / "curves.en.svg", tmp_path / "README.md"
    figure.parent.mkdir()
    figure.write_text("<svg>old</svg>")
    readme.write_text("<!-- headline -->\nold\n<!-- /headline -->\n")
    for write, path in (
        (lambda: pages.write_figures([tmp_path / "a.ipynb"], figure.parent), figure),
        (lambda: pages.put_headline(tmp_path / "a.ipynb", readme, "en"), readme),
    ):
        before = path.read_text()
        with file_size_limit(1000), pytest.raises(OSError, match=re.escape(str(path))):
            write()
        assert path.read_text() == before
        write()
        assert path.read_text() != before
    assert sorted(path.name for path in tmp_path.rglob("*.*")) == [
        *("README.md", "a.ipynb", "curves.en.svg")
    ]


# Damaged files.

DAMAGES = ("flipped", "cut short", "emptied", "lengthened", "overwritten")


def damage(path, trial):
    """Damages a file at a random place; returns what was done."""
    rng, content = random.Random(trial), path.read_bytes()
    how, at = DAMAGES[trial % len(DAMAGES)], rng.randrange(len(content))
    path.write_bytes(
        {
            "flipped": content[:at]
            + bytes([content[at] ^ (1 << rng.randrange(8))])
            + content[at + 1 :],
            "cut short": content[:at],
            "emptied": b"",
            "lengthened": content + rng.randbytes(1 + at % 10),
            "overwritten": content[:at] + rng.randbytes(len(content) - at),
        }[how]
    )
    return f"{how} at {at} of {len(content)}"


@pytest.fixture(scope="module")
def half(config, tmp_path_factory):
    """A checkpoint of the first steps of CM."""
    checkpoint = tmp_path_factory.mktemp("half") / "cm.safetensors"
    with pytest.MonkeyPatch.context() as patch, pytest.raises(StoppedError):
        patch.setattr(training, "CHECKPOINT_SECONDS", -1)
        stepping(patch, lambda step: stop() if step == 12 else None)
        train(config, CM, checkpoint)
    return checkpoint


def refusal(config, checkpoint):
    """The message with which a checkpoint is refused, before any step."""
    with pytest.MonkeyPatch.context() as patch, pytest.raises(CheckpointError) as raised:
        stepping(patch, stop)
        train(config, CM, checkpoint)
    assert str(checkpoint) in str(raised.value)
    return str(raised.value)


def test_a_hundred_damaged_checkpoints_are_refused_by_name(config, half, tmp_path):
    """Wherever it is: in the header, in the checksum itself, in any tensor."""
    checkpoint, content = tmp_path / half.name, half.read_bytes()
    said = {}
    for trial in range(100):
        checkpoint.write_bytes(content)
        done = damage(checkpoint, trial)
        said[done] = refusal(config, checkpoint)
    assert [done for done, message in said.items() if "checksum" not in message] == []


def test_a_flipped_bit_of_the_header_is_seen(config, half, tmp_path):
    """Space, digit or name: JSON that still parses is refused as well."""
    content, checkpoint = half.read_bytes(), tmp_path / half.name
    end = 8 + int.from_bytes(content[:8], "little")
    for place in range(8, end, 29):
        flipped = bytes([content[place] ^ 1])
        checkpoint.write_bytes(content[:place] + flipped + content[place + 1 :])
        assert "checksum" in refusal(config, checkpoint), place


def test_a_checkpoint_of_another_torch_is_refused_by_both_names(config, half, monkeypatch):
    """The last bit hangs on the library; which to install is said."""
    here = torch.__version__
    monkeypatch.setattr(torch, "__version__", "9.9.9")
    assert f"torch {here} wrote it, and torch 9.9.9 is here" in refusal(config, half)


def test_a_checkpoint_without_checksum_is_refused(config, half, tmp_path):
    """As this project wrote it before checkpoints had one."""
    with safetensors.safe_open(half, "pt") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    del metadata["sha256"]
    older = tmp_path / "older.safetensors"
    safetensors.torch.save_file(tensors, older, metadata)
    assert "no checksum" in refusal(config, older)


def test_a_hundred_damaged_records_are_refused_by_name(config, undisturbed, tmp_path):
    """Each file of the run in turn, its checksums included."""
    folder = tmp_path / "data" / config.ablation / config.name
    shutil.copytree(undisturbed.folder, folder)
    names = sorted(path.name for path in folder.iterdir())
    assert len(names) == 6
    for trial in range(100):
        path = folder / names[trial // len(DAMAGES) % len(names)]
        content = path.read_bytes()
        done = damage(path, trial)
        with pytest.raises(records.RecordError) as raised:
            records.find_run(str(tmp_path), config)
        assert str(folder) in str(raised.value) and path.name in str(raised.value), done
        path.write_bytes(content)
    assert records.find_run(str(tmp_path), config).config == config


def test_measurements_count_from_their_checksum_on(undisturbed, tmp_path, monkeypatch):
    """A kill between the two files leaves a run that is not measured, not one measured in part."""
    folder = tmp_path / undisturbed.folder.parent.name / undisturbed.folder.name
    shutil.copytree(undisturbed.folder, folder)
    measured, name, columns = records.read_run(folder), "elsewhere.csv", ["variant", "error"]
    table = undisturbed.errors[["variant", "error"]]
    with monkeypatch.context() as patch:
        patch.setattr(records, "write_sums", stop)
        with pytest.raises(StoppedError):
            records.write_measurements(measured, name, table)
    assert records.read_measurements(measured, name, columns) is None
    records.write_measurements(measured, name, table)
    assert len(records.read_measurements(measured, name, columns)) == len(table)
    assert records.read_run(folder).config == measured.config
    damage(folder / name, 0)
    with pytest.raises(records.RecordError, match=r"elsewhere\.csv is not the file"):
        records.read_measurements(measured, name, columns)
    (folder / name).unlink()
    assert records.read_measurements(measured, name, columns) is None


# Records from elsewhere.


class Payload:
    """Unpickled, it leaves a mark."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("name", ["config.json", "curves.csv", "weights.safetensors"])
def test_a_record_cannot_run_code(undisturbed, tmp_path, name):
    """A pickle in the place of each file, with checksums that fit: refused, never loaded."""
    mark = tmp_path / "mark"
    hostile = pickle.dumps(Payload(mark))
    pickle.loads(hostile)
    assert mark.exists()  # it would
    mark.unlink()
    folder = tmp_path / undisturbed.folder.parent.name / undisturbed.folder.name
    shutil.copytree(undisturbed.folder, folder)
    (folder / name).write_bytes(hostile)
    files.write_sums(folder, files.read_sums(folder) | {name: files.sha256(folder / name)})
    with pytest.raises(records.RecordError):
        records.read_run(folder).weights()
    assert not mark.exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"ablation": "../../elsewhere"},
        {"variants": ["../../elsewhere"]},
        {"seed": "0/../../elsewhere"},
        {"function_class": "/elsewhere"},
        {"b": "1/../.."},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_no_name_in_a_config_leaves_its_folder(config, undisturbed, tmp_path, changes):
    """Neither given as a parameter nor read from a record: what makes a path is one of a list."""
    with pytest.raises(ConfigError, match=next(iter(changes))):
        Config(**config.model_dump() | changes)
    folder = tmp_path / undisturbed.folder.parent.name / undisturbed.folder.name
    shutil.copytree(undisturbed.folder, folder)
    rewrite(folder, lambda made_by: made_by["config"].update(changes))
    with pytest.raises(records.RecordError, match=next(iter(changes))):
        records.read_run(folder)


def rewrite(folder, change):
    """Changes config.json, and its checksum with it, as who means harm would."""
    made_by = json.loads((folder / "config.json").read_text())
    change(made_by)
    (folder / "config.json").write_text(json.dumps(made_by))
    sums = files.read_sums(folder) | {"config.json": files.sha256(folder / "config.json")}
    files.write_sums(folder, sums)


HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(1)>[a](javascript:alert(1))"


@pytest.fixture(scope="module")
def report_of_a_hostile_divergence(tmp_path_factory):
    """lr = 10 in every variant, a record with hostile text; its notebook executed, its pages."""
    out = tmp_path_factory.mktemp("hostile")
    parameters = {**TINY, "lr": 10.0, "steps": 60, "log_every": 20}
    del parameters["variants"]
    recorded = run(Config(**parameters), str(out))
    rewrite(recorded.folder, lambda made_by: made_by.update(device=HOSTILE, commit=HOSTILE))
    rewrite(recorded.folder, lambda made_by: made_by["config"].update(device=HOSTILE))
    source = places.PROJECT / "notebooks" / "1_position_and_mask.py"
    jupytext.write(jupytext.read(source), out / "in.ipynb")
    command = [
        sys.executable,
        "-m",
        "icl_report.execute",
        str(out / "in.ipynb"),
        str(out / "a.ipynb"),
    ]
    command += ["-k", "python3", "-y", yaml.safe_dump(parameters | {"out": str(out)})]
    done = subprocess.run(command, cwd=source.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return recorded, [path.read_text() for path in pages.build_pages([out / "a.ipynb"], out)]


def test_divergence_is_recorded_and_reported(report_of_a_hostile_divergence):
    """A learning rate of 10 is a result like any other: no crash, no silence."""
    recorded, texts = report_of_a_hostile_divergence
    assert set(recorded.provenance["diverged"]) == set(recorded.config.variants)
    assert {*recorded.provenance["diverged"].values()} <= {20, 40, 60}
    for text in texts:
        for name in recorded.config.variants:
            assert f"{name} (1, 0)".replace(" + ", "\u00a0+\u00a0") in text


def test_text_from_a_record_is_escaped_in_the_pages(report_of_a_hostile_divergence):
    """It is shown, and does nothing."""
    for text in report_of_a_hostile_divergence[1]:
        assert "alert(1)" in text
        before, _, own = text.rpartition("<script>")  # the page's own, at its end
        assert "alert" not in own
        assert not re.search(r"<script|<img[^>]*onerror|href=.javascript", before)
