"""A run's folder is complete or absent, is what it says it is, and is never written again."""

import json
import locale
import math
import os
import pickle
import random
import re
import shutil
import subprocess
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch

from icl_core import evaluation, records, sampler, training
from icl_core.config import Config, ConfigError
from icl_core.model import LoopedTransformer
from icl_core.records import RecordError, find_run, read_run, recorded_runs, write_run

FILES = ["SHA256SUMS", "config.json", "curves.csv", "errors.csv", "losses.safetensors"]
FILES += ["probes.csv", "weights.safetensors"]
CURVES = [(2, 1 / 3, 2 / 3, 0.7), (4, 1e-9, 123456.789, math.pi)]
ERRORS = [(1, k, 1 / (k + 1), 0.1, 1.0) for k in range(4)]
PROBES = [(0, 1.0, math.nan, math.inf, -0.5)]


def small(**changes):
    return Config(**{"setup": "smoke", "variant": "SPE + CM"} | changes)


def tables():
    rows = {"curves.csv": CURVES, "errors.csv": ERRORS, "probes.csv": PROBES}
    return {n: pd.DataFrame(own, columns=records.COLUMNS[n]) for n, own in rows.items()}


def tensors(config):
    random = torch.Generator().manual_seed(config.seed)
    shapes = {name: p.shape for name, p in LoopedTransformer(config).named_parameters()}
    weights = {name: torch.randn(shape, generator=random) for name, shape in shapes.items()}
    return {"weights.safetensors": weights, "losses.safetensors": {"loss": torch.arange(4.0)}}


@pytest.fixture
def write(tmp_path):
    """write(config) records a run of that config, without any training."""

    def write(config, **made_by):
        made_by = {"libraries": records.versions(), "diverged": None} | made_by
        return write_run(str(tmp_path), config, made_by, tables(), tensors(config))

    return write


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def sign(folder):
    """SHA256SUMS anew, as a person would write it: the reader must look at what a file says."""
    names = sorted(path.name for path in folder.iterdir() if path.name != "SHA256SUMS")
    lines = [f"{records.sha256(folder / name)}  {name}\n" for name in names]
    (folder / "SHA256SUMS").write_text("".join(lines))


# Written and read.


def test_a_run_comes_back_as_it_was_written(tmp_path, write):
    """Weights and losses to the bit, the tables to nine digits; nan and inf are numbers."""
    config = small(b=2, seed=3)
    written = write(config, commit="abc", diverged=4)
    run = read_run(tmp_path / "data/smoke/spe_cm/b2-seed3")
    assert run == written and run.config == config and run.key == ("SPE + CM", 2, 3)
    assert run.provenance == {
        **{"libraries": records.versions(), "commit": "abc", "diverged": 4, "device": "cpu"}
    }
    assert sorted(path.name for path in run.folder.iterdir()) == FILES
    assert [path.name for path in run.folder.parent.iterdir()] == ["b2-seed3"]
    for name, table in tables().items():
        pd.testing.assert_frame_equal(run.table(name), table, check_dtype=False, rtol=1e-8, atol=0)
    for name, own in tensors(config).items():
        again = run.tensors(name)
        assert again.keys() == own.keys()
        assert all(torch.equal(again[key], tensor) for key, tensor in own.items())


def test_others_may_read_a_record(write):
    """A folder made under a temporary name is its owner's alone."""
    folder = write(small()).folder
    assert folder.stat().st_mode & 0o777 == 0o755
    assert all(path.stat().st_mode & 0o444 for path in folder.iterdir())


def test_sums_are_those_of_sha256sum(write):
    """And cover every other file."""
    folder = write(small()).folder
    command = ["sha256sum", "-c", "--strict", "SHA256SUMS"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == ""
    assert done.stdout.splitlines() == [f"{name}: OK" for name in FILES[1:]]


def test_nothing_recorded_is_a_pickle(write):
    """Text, or safetensors: a header of JSON, and numbers."""
    folder = write(small()).folder
    for path in folder.iterdir():
        if path.suffix == ".safetensors":
            whole = path.read_bytes()
            json.loads(whole[8 : 8 + int.from_bytes(whole[:8], "little")])
        else:
            path.read_text(encoding="ascii")


def test_a_run_of_another_machine_can_be_read_here(write):
    """Trained on a GPU, cloned onto a laptop: what is recorded does not need the device."""
    folder = write(small()).folder
    change_config(device="cuda")(folder)
    sign(folder)
    again = read_run(folder)
    assert again.provenance["device"] == "cuda" and again.config == small()
    assert next(training.recorded_model(again).parameters()).device.type == "cpu"


# Never in part, never again.


@pytest.mark.parametrize("stage", ["config.json", "tables", "weights", "sums", "rename"])
@pytest.mark.parametrize("error", [OSError("no space left"), KeyboardInterrupt()], ids=repr)
def test_a_crash_while_writing_leaves_nothing(tmp_path, monkeypatch, write, stage, error):
    """Neither the folder nor its temporary sibling; and the run can be written afterwards."""

    def crash(*_, **__):
        raise error

    with monkeypatch.context() as patch:
        if stage == "config.json":
            patch.setattr(os, "fsync", crash)
        elif stage == "tables":
            patch.setattr(pd.DataFrame, "to_csv", crash)
        elif stage == "weights":
            patch.setattr(safetensors.torch, "save", crash)
        elif stage == "sums":
            patch.setattr(records, "write_sums", crash)
        else:
            patch.setattr(Path, "rename", crash)
        with pytest.raises(type(error)):
            write(small())
    assert list((tmp_path / "data/smoke/spe_cm").iterdir()) == []
    assert find_run(str(tmp_path), small()) is None
    assert write(small()).config == small()


def test_the_folder_appears_only_when_it_is_complete(tmp_path, monkeypatch, write):
    """At the moment it gets its name, all files are there; until then nobody counts it."""
    write_sums, looks = records.write_sums, []

    def writing(folder, sums):
        looks.append(folder)
        assert folder.parent == tmp_path / "data/smoke/spe_cm" and folder.name != "b1-seed42"
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert recorded_runs(str(tmp_path), [small()]) == []
        return write_sums(folder, sums)

    monkeypatch.setattr(records, "write_sums", writing)
    write(small())
    assert len(looks) == 1 and len(recorded_runs(str(tmp_path), [small()])) == 1


def test_what_a_killed_writer_left_goes_when_the_run_is_written(tmp_path, write):
    """And what belongs to another run's writer stays."""
    place = tmp_path / "data/smoke/spe_cm"
    for name in (".b1-seed42.part", ".b1-seed4.part"):
        (place / name).mkdir(parents=True)
        (place / name / "config.json").write_text("{}")
    write(small())
    assert {path.name for path in place.iterdir()} == {"b1-seed42", ".b1-seed4.part"}


def test_what_is_recorded_is_not_overwritten(write):
    """Not even by the same run; and the failed attempt leaves no temporary."""
    run = write(small())
    before = content(run.folder)
    for config in (small(), small(lr=1e-3)):
        with pytest.raises(RecordError, match="is recorded already; remove it by hand") as raised:
            write(config)
        assert str(run.folder) in str(raised.value)
    assert content(run.folder) == before
    assert [path.name for path in run.folder.parent.iterdir()] == ["b1-seed42"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_file_that_cannot_be_written_is_what_it_was(tmp_path, monkeypatch, call):
    path = tmp_path / "file"
    records.write_whole(path, "before")

    def fail(*_):
        raise OSError("no space left")

    with monkeypatch.context() as patch, pytest.raises(OSError):
        patch.setattr(os, call, fail)
        records.write_whole(path, "after")
    assert content(tmp_path) == {"file": b"before"}
    records.write_whole(path, b"after")
    assert content(tmp_path) == {"file": b"after"}


# Found, or refused.


def test_find_run_gives_the_run_or_none_or_says_what_differs(tmp_path, write):
    """The names and both values, so that the reader knows which parameter to set back."""
    write(small())
    others = (small(b=2), small(seed=1), small(variant="SPE"), small(setup="smoke+query"))
    assert [find_run(str(tmp_path), config) for config in others] == [None] * 4
    assert find_run(str(tmp_path), small()).config == small()
    with pytest.raises(RecordError) as raised:
        find_run(str(tmp_path), small(lr=1e-3, steps=3))
    message = str(raised.value)
    assert str(tmp_path / "data/smoke/spe_cm/b1-seed42") in message
    assert "lr = 0.0005 there, 0.001 here" in message and "steps = 4 there, 3 here" in message
    assert message.count(" there, ") == 2 and "choose another out" in message


def change_config(**changes):
    """Writes these parameters into config.json."""

    def change(folder):
        made_by = json.loads((folder / "config.json").read_text())
        made_by["config"] |= changes
        (folder / "config.json").write_text(json.dumps(made_by))

    return change


def config_says(text):
    return lambda folder: (folder / "config.json").write_text(text)


BROKEN = {
    **{f"no {name}": lambda folder, n=name: (folder / n).unlink() for name in records.FILES},
    "broken JSON": config_says('{"config": {"b": 1'),
    "JSON that is a list": config_says("[1, 2]"),
    "JSON without a config": config_says("{}"),
    "a config that is a number": config_says('{"config": 1}'),
    "a config that is a list": config_says('{"config": ["device"]}'),
    "an empty config.json": config_says(""),
    "config.json in another encoding": lambda f: (f / "config.json").write_bytes(b"\xff\xfe\x00"),
    "another b": change_config(b=2),
    "another seed": change_config(seed=1),
    "another variant": change_config(variant="SPE"),
    "another setup": change_config(setup="source"),
    "an unknown parameter": change_config(sed=3),
    "a value out of range": change_config(lr=-1.0),
    "a setup that leaves its folder": change_config(setup="../../elsewhere"),
    "a setup that is a list": change_config(setup=["smoke"]),
    "a variant that leaves its folder": change_config(variant="../../elsewhere"),
    "a seed that leaves its folder": change_config(seed="42/../../elsewhere"),
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_folder_is_refused_by_name_and_left_out_with_a_warning(tmp_path, write, how):
    broken, good = write(small()), write(small(seed=5))
    BROKEN[how](broken.folder)
    if how != "no SHA256SUMS":
        sign(broken.folder)
    for read in (lambda: read_run(broken.folder), lambda: find_run(str(tmp_path), small())):
        with pytest.raises(RecordError) as raised:
            read()
        assert str(broken.folder) in str(raised.value)
    with pytest.warns(UserWarning, match="left out: ") as warned:
        runs = recorded_runs(str(tmp_path), [small()])
    assert [run.folder for run in runs] == [good.folder]
    assert len(warned) == 1 and str(broken.folder) in str(warned[0].message)


DAMAGES = {
    "flipped": lambda content, at: content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :],
    "cut short": lambda content, at: content[:at],
    "emptied": lambda content, at: b"",
    "lengthened": lambda content, at: content + b"0",
    "gone": lambda content, at: None,
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_file_is_refused_by_name(tmp_path, write, name, how):
    """Each file of the run, its sums and those that not every run has included."""
    path = write(small()).folder / name
    whole, rng = path.read_bytes(), random.Random(0)
    for _ in range(5):
        path.unlink(missing_ok=True)
        if (damaged := DAMAGES[how](whole, rng.randrange(len(whole)))) is not None:
            path.write_bytes(damaged)
        with pytest.raises(RecordError) as raised:
            find_run(str(tmp_path), small())
        assert str(path.parent) in str(raised.value)
        # A digit of another file's sum, or JSON that cannot be read: the folder is named at least.
        assert name in str(raised.value) or name in ("SHA256SUMS", "config.json")
    path.write_bytes(whole)
    assert find_run(str(tmp_path), small()).config == small()


@pytest.mark.parametrize(
    "line", ["nonsense", "0" * 64 + "  ../b1-seed1/x", "0" * 64 + "  ..", "0" * 63 + "  a", ""]
)
def test_sums_that_are_none_are_refused(write, line):
    folder = write(small()).folder
    with open(folder / "SHA256SUMS", "a") as file:
        file.write(line + "\n")
    with pytest.raises(RecordError, match="SHA256SUMS"):
        read_run(folder)


def test_a_file_without_a_sum_is_not_read(write):
    """Or of another name than a run's own: what lies there was not recorded."""
    run = write(small())
    (run.folder / "extra.csv").write_text("a\n1\n")
    assert read_run(run.folder).config == small()
    for name in ("extra.csv", "missing.csv", "../b1-seed42/curves.csv"):
        with pytest.raises(RecordError, match=re.escape(name)):
            run.table(name)


@pytest.mark.parametrize("place", ["spe_cm/b1-seed1", "spe/b1-seed42", "spe_cm/copy"])
def test_a_copy_under_another_name_is_refused(write, place):
    """Else one run could be counted as two."""
    run = write(small())
    copy = run.folder.parents[1] / place
    shutil.copytree(run.folder, copy)
    with pytest.raises(RecordError, match=re.escape(f"{copy} holds the run smoke/spe_cm/b1-seed")):
        read_run(copy)


def test_a_record_can_be_moved_with_its_project(tmp_path, write):
    shutil.move(write(small()).folder.parents[2], tmp_path / "elsewhere" / "data")
    assert find_run(str(tmp_path / "elsewhere"), small()).config == small()


class Payload:
    """Unpickled, it leaves a mark."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("name", ["config.json", "curves.csv", "weights.safetensors"])
def test_a_record_cannot_run_code(tmp_path, write, name):
    """A pickle in the place of a file, with sums that fit: never loaded."""
    mark, folder = tmp_path / "mark", write(small()).folder
    hostile = pickle.dumps(Payload(mark))
    pickle.loads(hostile)
    assert mark.exists()  # it would
    mark.unlink()
    (folder / name).write_bytes(hostile)
    sign(folder)
    with pytest.raises((RecordError, safetensors.SafetensorError, UnicodeDecodeError)):
        run = read_run(folder)
        run.table("curves.csv"), run.tensors("weights.safetensors")
    assert not mark.exists()


# Several runs.


def test_recorded_runs_are_the_comparable_ones_in_order(tmp_path, write):
    """Variants as asked for, then b, then seed: ten comes after two. The rest is told."""
    for b, seed in ((2, 0), (10, 1), (1, 10), (1, 2)):
        write(small(b=b, seed=seed))
    write(small(variant="CM")), write(small(variant="LPE"))
    write(small(b=3, lr=1e-3))
    (tmp_path / "data/smoke/spe_cm/.b1-seed7.abc").mkdir()  # what a killed process may leave
    asked = [small(variant="CM", b=50), small(b=50, seed=50), small(variant="SPE")]
    with pytest.warns(
        UserWarning, match="left out: .*b3-seed42 .*lr = 0.001 there, 0.0005"
    ) as warned:
        runs = recorded_runs(str(tmp_path), asked)
    assert len(warned) == 1
    found = [(run.config.variant, run.config.b, run.config.seed) for run in runs]
    places = [(1, 2), (1, 10), (2, 0), (10, 1)]
    assert found == [("CM", 1, 42)] + [("SPE + CM", *place) for place in places]


def test_nothing_recorded_is_an_empty_list(tmp_path):
    """A fresh project is no error."""
    assert recorded_runs(str(tmp_path), [small()]) == []
    assert find_run(str(tmp_path), small()) is None


def test_tidy_puts_in_front_what_tells_runs_apart(write):
    """One row an observation; a variant called none is no missing value."""
    configs = [small(b=2, seed=4), small(variant="none"), small(setup="smoke+query", variant="PM")]
    runs = [write(config) for config in configs]
    keys = ["setup", "variant", "encoding", "mask", "objective", "b", "seed"]
    for name in ("errors.csv", "curves.csv"):
        together = records.tidy(runs, name)
        assert list(together.columns) == [*keys, *records.COLUMNS[name]]
        assert list(together.index) == list(range(len(together)))
        told = list(together[keys].drop_duplicates().itertuples(index=False, name=None))
        assert told == [
            ("smoke", "SPE + CM", "SPE", "CM", "all", 2, 4),
            ("smoke", "none", "", "", "all", 1, 42),
            ("smoke+query", "PM", "", "PM", "query", 1, 42),
        ]
        own = together[together.variant == "none"].drop(columns=keys).reset_index(drop=True)
        pd.testing.assert_frame_equal(own, runs[1].table(name))


# What is measured later.


def test_a_measurement_is_added_with_its_sum(write):
    run, table = write(small()), pd.DataFrame({"k": [1, 2], "error": [1 / 3, math.nan]})
    before = content(run.folder)
    records.write_measurements(run, "elsewhere.csv", table)
    pd.testing.assert_frame_equal(run.table("elsewhere.csv"), table, rtol=1e-8)
    after = content(read_run(run.folder).folder)
    changed = {name for name in after if after[name] != before.get(name)}
    assert changed == {"elsewhere.csv", "SHA256SUMS"}
    records.write_measurements(run, "elsewhere.csv", table[:1])  # anew
    assert len(run.table("elsewhere.csv")) == 1 and read_run(run.folder).config == small()


def test_a_measurement_leaves_nothing_that_git_would_keep(tmp_path, write):
    """Or every clone that measures would be dirty."""
    run = write(small())
    records.write_measurements(run, "elsewhere.csv", tables()["curves.csv"])
    ignored = (records.PROJECT / ".gitignore").read_text().splitlines()
    left = [path for path in (tmp_path / "data").rglob("*") if path.is_file()]
    beside = {path.name for path in left if path.parent != run.folder}
    assert all(any(Path(name).match(pattern) for pattern in ignored) for name in beside)
    assert [path.name for path in run.folder.parent.iterdir()] == ["b1-seed42"]
    assert sorted(path.name for path in run.folder.iterdir()) == sorted([*FILES, "elsewhere.csv"])


def test_measurements_made_at_one_time_are_all_kept(write, monkeypatch):
    """Two notebooks may measure the same run at once: neither loses the other's line."""
    run, table = write(small()), tables()["curves.csv"]
    read, names = records.read_sums, [f"{i}.csv" for i in range(6)]
    monkeypatch.setattr(records, "read_sums", lambda folder: (read(folder), time.sleep(0.02))[0])
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda name: records.write_measurements(run, name, table), names))
    assert set(names) <= set(read(run.folder))


def test_a_measurement_counts_from_its_sum_on(write, monkeypatch):
    """A kill between the two files leaves a run that is not measured, not one measured in part."""
    run, table = write(small()), tables()["curves.csv"]

    def kill(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(records, "write_sums", kill)
        records.write_measurements(run, "elsewhere.csv", table)
    with pytest.raises(RecordError, match=r"elsewhere\.csv is not a file that SHA256SUMS tells of"):
        run.table("elsewhere.csv")
    assert read_run(run.folder).config == small()
    records.write_measurements(run, "elsewhere.csv", table)
    assert len(run.table("elsewhere.csv")) == 2
    (run.folder / "elsewhere.csv").write_text("k\n1\n")
    with pytest.raises(RecordError, match=r"elsewhere\.csv is not a file that SHA256SUMS tells of"):
        read_run(run.folder)


# Where it is, who holds it, what made it.


@pytest.mark.parametrize("out", ["", "  ", "a\0b", None, 5, Path()], ids=repr)
def test_an_out_that_names_no_folder_is_refused(out):
    with pytest.raises(ConfigError, match=r"^out = .*: must name a folder"):
        records.root_folder(out)


def test_an_out_is_relative_to_the_project_s_folder(tmp_path, monkeypatch):
    """Wherever a notebook is started; ~ is the home."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert records.root_folder(".") == records.PROJECT
    assert records.root_folder("build/try") == records.PROJECT / "build" / "try"
    assert records.root_folder("~/runs") == tmp_path / "runs"
    assert records.root_folder(str(tmp_path)) == tmp_path
    assert records.run_folder("~", small()) == tmp_path / "data/smoke/spe_cm/b1-seed42"


def test_a_lock_is_held_by_one_and_told_to_the_others(tmp_path):
    lock = tmp_path / "deep" / "b1-seed42.lock"
    for _ in range(2):  # again, once it is free
        with pytest.raises(KeyboardInterrupt), records.held(lock):
            with pytest.raises(records.HeldError, match=f"b1-seed42 .* process {os.getpid()} on"):
                records.held(lock).__enter__()
            raise KeyboardInterrupt
    assert [path.name for path in lock.parent.iterdir()] == ["b1-seed42.lock"]


STATES = ["no program", "no repository", "another's folder", "no commit", "a commit", "a change"]


@pytest.fixture
def ascii_locale():
    """A locale in which nothing but ASCII is a text, unless one says what it is encoded in."""
    before = locale.setlocale(locale.LC_CTYPE)
    locale.setlocale(locale.LC_CTYPE, "C")
    yield
    locale.setlocale(locale.LC_CTYPE, before)


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("told", [None, "the image's"])
def test_the_commit_is_named_if_there_is_one(tmp_path, monkeypatch, ascii_locale, state, told):
    """Else ICL_COMMIT's value; no state of git may lose a run, nor pass for another's commit."""
    project = tmp_path / "проект"
    project.mkdir()
    monkeypatch.setattr(records, "PROJECT", project)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.delenv("ICL_COMMIT", raising=False)
    if told:
        monkeypatch.setenv("ICL_COMMIT", told)

    def git(*words):
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        command = ["git", "-C", str(project), *identity, *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    expected = told
    if state in ("no commit", "a commit", "a change"):
        git("init", "-q")
    if state == "another's folder":
        git("init", "-q", str(tmp_path))
    if state in ("another's folder", "a commit", "a change"):
        (project / "file").write_text("1")
        git("add", "file"), git("commit", "-q", "-m", "first")
    if state in ("a commit", "a change"):
        expected = git("rev-parse", "HEAD")
    if state == "a change":
        (project / "file").write_text("2")
        expected += "-dirty"
    if state == "no program":
        monkeypatch.setenv("PATH", str(tmp_path))
    assert records.commit() == expected


def test_versions_are_told():
    told = records.versions()
    assert told["torch"] == torch.__version__ and told["numpy"] == np.__version__
    assert told.keys() == {"python", "torch", "numpy", "pandas", "safetensors"}


# What is recorded in this project's own data/.

FOLDERS = sorted(
    folder
    for folder in (records.PROJECT / "data").glob("*/*/b*-seed*/")
    if not folder.name.startswith(".")
)
OF_ONE_LOOP = [folder for folder in FOLDERS if folder.name.startswith("b1-")]
QUICK = [f for f in OF_ONE_LOOP if f.parents[1].name == "source"][:2]
QUICK += [f for f in OF_ONE_LOOP if f.parents[1].name != "source"][:1]


def each_recorded_run(few):
    """Those few; the others where it may take longer."""
    marks = {folder: [] if folder in few else [pytest.mark.long] for folder in FOLDERS}
    nothing = [pytest.param(None, marks=pytest.mark.skip(reason="data/ holds no run yet"))]
    runs = [pytest.param(folder, marks=own) for folder, own in marks.items()]
    names = [folder.relative_to(records.PROJECT / "data").as_posix() for folder in FOLDERS]
    return pytest.mark.parametrize("folder", runs or nothing, ids=names or ["none"])


@each_recorded_run(FOLDERS)
def test_a_recorded_run_is_whole(folder):
    """Its rows and losses, as many as it says; finite unless it is said to have diverged."""
    run = read_run(folder)
    config, made_by = run.config, run.provenance
    end = made_by["diverged"] or config.steps
    names = {path.name for path in folder.iterdir()}
    errors, curves = run.table("errors.csv"), run.table("curves.csv")
    assert list(curves.step) == [*range(config.log_every, end, config.log_every), end]
    full = errors[errors.loops == config.b]
    assert list(full.k) == list(range(config.n_examples + 1))
    shapes = {name: p.shape for name, p in LoopedTransformer(config).named_parameters()}
    weights = run.tensors("weights.safetensors")
    assert {name: weight.shape for name, weight in weights.items()} == shapes
    if "converted_from" not in made_by:  # the first edition kept less
        assert list(errors.loops) == [*range(1, config.b), *[config.b] * len(full)]
        assert run.tensors("losses.safetensors")["loss"].shape == (end,)
        looks = list(range(0, end + 1, config.probe_every))
        assert list(run.table("probes.csv").step) == looks
        assert len(run.table("attention.csv")) == (
            len(looks) * config.b * config.n_layers * config.n_heads
        )
        assert ({"checks.csv", "tests.csv"} <= names) == (config.random_numbers == "torch")
        if config.random_numbers == "torch":
            assert list(run.table("checks.csv").step) == looks
            assert list(run.table("tests.csv").launch) == [*range(1, 11)]
    if made_by["diverged"] is None:
        assert np.isfinite(errors).all(axis=None) and np.isfinite(curves.training_loss).all()
        assert (errors.low <= errors.error).all() and (errors.error <= errors.high).all()


@each_recorded_run(QUICK)
def test_recorded_weights_are_those_of_the_recorded_errors(folder):
    """With few examples and with all of them."""
    run = read_run(folder)
    if run.provenance["diverged"]:
        pytest.skip("it diverged: its errors are not numbers")
    n = run.config.n_examples
    model, prompts = training.recorded_model(run), sampler.evaluation_prompts(run.config)
    recorded = run.table("errors.csv").query(f"loops == {run.config.b}").set_index("k").error
    for k in (2, n):
        error = evaluation.target_errors(model, prompts, [k])[-1].mean()
        assert error == pytest.approx(recorded[k], rel=1e-4)
