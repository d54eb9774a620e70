"""A run's folder is complete or absent, is what it says it is, and is never written again."""

import json
import math
import re
import shutil
import subprocess
import time
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch

from icl_report import evaluation, files, records, sampler
from icl_report.config import ABLATIONS
from icl_report.model import LoopedTransformer, variant_weights
from icl_report.records import RecordError, find_run, read_run, recorded_runs, tidy, write_run
from icl_report.training import recorded_model

RUN = "data/1_position_and_mask"
LEAK = records.COLUMNS["leak.csv"]


def sign(folder):
    """SHA256SUMS anew, as a person would write it: the reader must look at what a file says."""
    command = "rm -f SHA256SUMS && sha256sum *.json *.csv *.safetensors > SHA256SUMS"
    subprocess.run(command, shell=True, cwd=folder, stderr=subprocess.DEVNULL)


@pytest.fixture
def write(tmp_path, perturbed):
    """write(config) records a run of that config, without any training."""

    def write(config, diverged=None):
        model, prompts = perturbed(config), sampler.evaluation_prompts(config)
        errors = evaluation.errors_table(model, prompts, range(config.n_examples + 1), config.b)
        steps = range(config.log_every, config.steps + 1, config.log_every)
        rows = [(name, step, 1 / step, 2 / 3) for name in config.variants for step in steps]
        curves = pd.DataFrame(rows, columns=records.COLUMNS["curves.csv"])
        leak = pd.DataFrame([(config.variants[-1], 10, 1, 1, 2, 0.25)], columns=LEAK)
        tables = {"curves.csv": curves, "errors.csv": errors, "leak.csv": leak}
        made_by = records.provenance(80, 2.0, None, diverged or {}, {})
        return write_run(str(tmp_path), config, made_by, tables, model.state_dict())

    return write


def test_a_run_comes_back_as_it_was_written(tiny, tmp_path, perturbed, write):
    """Config, tables and weights; the weights to the bit, the tables to nine digits."""
    config = tiny(b=2, seed=3)
    written = write(config)
    run = read_run(tmp_path / RUN / "b2-seed3")
    assert run.config == config and run.folder == written.folder
    files = sorted(path.name for path in run.folder.iterdir())
    assert files == sorted([*records.FILES, *records.LATER])
    assert [path.name for path in run.folder.parent.iterdir()] == ["b2-seed3"]
    model = perturbed(config)
    weights = run.weights()
    assert weights.keys() == model.state_dict().keys()
    assert all(torch.equal(w, weights[name]) for name, w in model.state_dict().items())
    ks = range(config.n_examples + 1)
    errors = evaluation.errors_table(model, sampler.evaluation_prompts(config), ks, 2)
    pd.testing.assert_frame_equal(run.errors, errors, rtol=1e-8, atol=0)
    assert list(run.curves.columns) == records.COLUMNS["curves.csv"]
    assert list(run.curves.step) == [10, 20, 30, 40] * 2
    assert list(run.curves.variant) == ["CM"] * 4 + ["LPE"] * 4
    np.testing.assert_allclose(run.curves.training_loss, 1 / run.curves.step, rtol=1e-8)
    assert run.provenance["variant_steps_per_second"] == 80 / 2.0


def test_the_variant_called_none_is_not_read_as_a_missing_value(tiny, write):
    """pandas takes a good many words for nan."""
    run = write(tiny(variants=("none", "SPE + CM")))
    assert list(run.errors.variant.unique()) == ["none", "SPE + CM"]


def test_a_run_recorded_before_the_leak_was_logged_can_be_read(tiny, write):
    """Its table is empty; one with rows of a foreign variant is refused."""
    run = write(tiny())
    assert run.leak.values.tolist() == [["LPE", 10, 1, 1, 2, 0.25]]
    (run.folder / "leak.csv").unlink()
    with pytest.raises(RecordError, match=r"leak\.csv is not the file"):
        read_run(run.folder)
    sign(run.folder)
    assert read_run(run.folder).leak.empty
    foreign = pd.DataFrame([("SPE", 10, 1, 1, 2, 0.25)], columns=LEAK)
    foreign.to_csv(run.folder / "leak.csv", index=False)
    with pytest.raises(RecordError, match=r"leak\.csv has no line in SHA256SUMS"):
        read_run(run.folder)
    sign(run.folder)
    with pytest.raises(RecordError, match=r"leak\.csv does not belong"):
        read_run(run.folder)


def test_a_record_names_the_slurm_job_that_made_it(tiny, monkeypatch, write):
    """Or none; a record from before jobs were named can be read."""
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    made = write(tiny(seed=1))
    assert made.provenance["slurm_job_id"] == "17"
    monkeypatch.delenv("SLURM_JOB_ID")
    assert write(tiny()).provenance["slurm_job_id"] is None
    record = json.loads((made.folder / "config.json").read_text())
    del record["slurm_job_id"]
    path = made.folder / "config.json"
    path.write_text(json.dumps(record))
    files.write_sums(made.folder, files.read_sums(made.folder) | {path.name: files.sha256(path)})
    assert read_run(made.folder).config == tiny(seed=1)


def test_recorded_weights_evaluate_to_the_recorded_errors(tiny, write):
    """The weights belong to the table: whoever evaluates them anew finds the same numbers."""
    run = write(tiny(b=2, variants=("SPE", "LPE + CM", "none")))
    prompts = sampler.evaluation_prompts(run.config)
    anew = evaluation.errors_table(
        recorded_model(run), prompts, range(run.config.n_examples + 1), run.config.b
    )
    pd.testing.assert_frame_equal(anew, run.errors, rtol=1e-6, atol=1e-8)


def test_a_diverged_run_can_be_written_and_read(tiny, tmp_path, write, perturbed):
    """nan and inf are numbers that a table must be able to hold."""
    config = tiny()
    made = write(config)
    errors = made.errors.assign(error=math.nan, low=math.inf)
    shutil.rmtree(made.folder)
    made_by = records.provenance(80, 2.0, "abc", {"CM": 20}, {})
    weights = {
        name: torch.full_like(w, math.nan) for name, w in perturbed(config).state_dict().items()
    }
    tables = {"curves.csv": made.curves, "errors.csv": errors, "leak.csv": made.leak}
    run = write_run(str(tmp_path), config, made_by, tables, weights)
    assert run.provenance["diverged"] == {"CM": 20}
    assert run.errors.error.isna().all() and np.isinf(run.errors.low).all()
    assert all(w.isnan().all() for w in run.weights().values())


@pytest.mark.parametrize("stage", ["weights", "tables", "rename"])
@pytest.mark.parametrize("error", [OSError("no space left"), KeyboardInterrupt()], ids=repr)
def test_a_crash_while_writing_leaves_nothing(tiny, tmp_path, monkeypatch, write, stage, error):
    """Neither the folder nor its temporary sibling; and the run can be written afterwards."""

    def crash(*_, **__):
        raise error

    with monkeypatch.context() as patch:
        if stage == "weights":
            patch.setattr(safetensors.torch, "save", crash)
        elif stage == "tables":
            patch.setattr(pd.DataFrame, "to_csv", crash)
        else:
            patch.setattr("pathlib.Path.rename", crash)
        with pytest.raises(type(error)):
            write(tiny())
    assert list((tmp_path / RUN).iterdir()) == []
    assert find_run(str(tmp_path), tiny()) is None
    assert write(tiny()).config == tiny()


def test_the_folder_appears_only_when_it_is_complete(tiny, tmp_path, monkeypatch, write):
    """At the moment it gets its name, all files are there; until then nobody counts it."""
    save = safetensors.torch.save

    def saving(weights):
        assert not (tmp_path / RUN / "b1-seed0").exists()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert recorded_runs(str(tmp_path), tiny()) == []
        return save(weights)

    monkeypatch.setattr(safetensors.torch, "save", saving)
    write(tiny())
    assert len(recorded_runs(str(tmp_path), tiny())) == 1


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_what_is_recorded_is_not_overwritten(tiny, tmp_path, write):
    """Not even by the same run; and the failed attempt leaves no temporary."""
    run = write(tiny())
    before = content(run.folder)
    with pytest.raises(RecordError, match="recorded already") as raised:
        write(tiny(lr=1e-3))
    assert str(run.folder) in str(raised.value)
    assert content(run.folder) == before
    assert [path.name for path in run.folder.parent.iterdir()] == ["b1-seed0"]


def test_measurements_made_at_one_time_are_all_kept(tiny, write, monkeypatch):
    """Two notebooks may measure the same run at once: neither loses the other's line."""
    run = write(tiny())
    read, names = records.read_sums, [f"{i}.csv" for i in range(8)]
    monkeypatch.setattr(records, "read_sums", lambda folder: (read(folder), time.sleep(0.05))[0])
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda name: records.write_measurements(run, name, run.errors), names))
    assert set(names) <= set(read(run.folder))


def test_find_run_gives_the_run_or_none_or_says_what_differs(tiny, tmp_path, write):
    """The names and both values, so that the reader knows which parameter to set back."""
    write(tiny())
    assert find_run(str(tmp_path), tiny(b=2)) is None
    assert find_run(str(tmp_path), tiny(seed=1)) is None
    assert find_run(str(tmp_path), tiny()).config == tiny()
    with pytest.raises(RecordError) as raised:
        find_run(str(tmp_path), tiny(lr=1e-3, d=3))
    message = str(raised.value)
    assert str(tmp_path / RUN / "b1-seed0") in message
    assert "lr = 0.0005 there, 0.001 here" in message
    assert "d = 2 there, 3 here" in message
    assert message.count(" there, ") == 2
    assert "choose another out" in message


def change_config(**changes):
    """Writes these parameters into config.json."""

    def change(folder):
        made_by = json.loads((folder / "config.json").read_text())
        made_by["config"] |= changes
        (folder / "config.json").write_text(json.dumps(made_by))

    return change


def overwrite(name, text):
    return lambda folder: (folder / name).write_text(text)


def change_table(name, change):
    return lambda folder: change(pd.read_csv(folder / name)).to_csv(folder / name, index=False)


BROKEN = {
    **{f"no {name}": lambda folder, name=name: (folder / name).unlink() for name in records.FILES},
    "broken JSON": overwrite("config.json", '{"config": {"b": 1'),
    "JSON that is a list": overwrite("config.json", "[1, 2]"),
    "JSON without a config": overwrite("config.json", "{}"),
    "a config that is a number": overwrite("config.json", '{"config": 1}'),
    "an empty config.json": overwrite("config.json", ""),
    "config.json in another encoding": lambda f: (f / "config.json").write_bytes(b"\xff\xfe\x00"),
    "another b": change_config(b=2),
    "another seed": change_config(seed=1),
    "other variants": change_config(variants=["CM", "SPE"]),
    "an unknown parameter": change_config(sed=3),
    "a value out of range": change_config(lr=-1.0),
    "an empty table": overwrite("errors.csv", ""),
    "a table of the header only": change_table("errors.csv", lambda t: t[:0]),
    "a renamed column": change_table("errors.csv", lambda t: t.rename(columns={"k": "n"})),
    "columns in another order": change_table("curves.csv", lambda t: t[t.columns[::-1]]),
    "a column too many": change_table("curves.csv", lambda t: t.assign(more=1)),
    "a variant too few": change_table("errors.csv", lambda t: t[t.variant == "CM"]),
    "a variant too many": change_table("curves.csv", lambda t: t.replace({"LPE": "SPE"})),
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_folder_is_refused_and_left_out(tiny, tmp_path, write, how):
    """By name wherever it is asked for; with a warning where all runs are collected."""
    broken, good = write(tiny()), write(tiny(seed=5))
    BROKEN[how](broken.folder)
    if how != "no SHA256SUMS":
        sign(broken.folder)
    for read in (lambda: read_run(broken.folder), lambda: find_run(str(tmp_path), tiny())):
        with pytest.raises(RecordError) as raised:
            read()
        assert str(broken.folder) in str(raised.value)
    with pytest.warns(UserWarning, match="left out") as warned:
        runs = recorded_runs(str(tmp_path), tiny())
    assert [run.folder for run in runs] == [good.folder]
    assert len(warned) == 1 and str(broken.folder) in str(warned[0].message)


def test_a_copy_under_another_name_is_refused(tiny, write):
    """Else one run could be counted as two seeds."""
    run = write(tiny())
    copy = run.folder.with_name("b1-seed1")
    shutil.copytree(run.folder, copy)
    with pytest.raises(RecordError, match="holds the run 1_position_and_mask/b1-seed0"):
        read_run(copy)


def test_a_run_of_another_machine_can_be_read_here(tiny, write):
    """Trained on a GPU, cloned onto a laptop: what is recorded does not need the device."""
    run = write(tiny())
    change_config(device="cuda")(run.folder)
    sign(run.folder)
    again = read_run(run.folder)
    pd.testing.assert_frame_equal(again.errors, run.errors)
    assert next(recorded_model(again).parameters()).device.type == "cpu"


def test_recorded_runs_are_the_comparable_ones_by_b_and_seed(tiny, tmp_path, write):
    """Ten comes after two; what has other parameters is left out, and said to be."""
    for b, seed in ((2, 0), (10, 1), (1, 10), (1, 2)):
        write(tiny(b=b, seed=seed))
    write(tiny(b=3, seed=0, lr=1e-3))
    (tmp_path / RUN / ".b1-seed7-tmp").mkdir()  # what a killed process may leave behind
    with pytest.warns(UserWarning, match="b3-seed0 has other parameters") as warned:
        runs = recorded_runs(str(tmp_path), tiny(b=50, seed=50))
    assert len(warned) == 1
    assert [(run.config.b, run.config.seed) for run in runs] == [(1, 2), (1, 10), (2, 0), (10, 1)]


def test_runs_of_another_function_class_stand_beside_without_a_warning(tiny, tmp_path, write):
    """They are no runs of this experiment gone astray."""
    for kind in ("linear", "tree"):
        write(tiny(function_class=kind))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (plain,) = recorded_runs(str(tmp_path), tiny())
        (tree,) = recorded_runs(str(tmp_path), tiny(function_class="tree"))
    assert (plain.folder.name, tree.folder.name) == ("b1-seed0", "b1-seed0-tree")


def test_nothing_recorded_is_an_empty_list(tiny, tmp_path):
    """A fresh project is no error."""
    assert recorded_runs(str(tmp_path), tiny()) == []
    assert find_run(str(tmp_path), tiny()) is None


def test_tidy_puts_b_and_seed_in_front(tiny, tmp_path, write):
    """One row an observation, each with the run it is from."""
    written = [write(tiny(b=b, seed=seed)) for b, seed in ((1, 0), (1, 4), (2, 0))]
    for table, csv in (("errors", "errors.csv"), ("curves", "curves.csv")):
        together = tidy(written, table)
        assert list(together.columns) == ["b", "seed", *records.COLUMNS[csv]]
        assert list(together.index) == list(range(len(together)))
        for run in written:
            own = together[(together.b == run.config.b) & (together.seed == run.config.seed)]
            own = own.drop(columns=["b", "seed"]).reset_index(drop=True)
            pd.testing.assert_frame_equal(own, getattr(run, table))


@pytest.mark.parametrize("git", ["no program", "no repository", "no commit", "a commit"])
def test_the_commit_is_named_if_there_is_one(tmp_path, monkeypatch, git):
    """No state of git may lose a run."""
    monkeypatch.setattr(records, "PROJECT", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    command, commit = (
        ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"],
        None,
    )
    if git in ("no commit", "a commit"):
        subprocess.run([*command, "init", "-q"], check=True)
    if git == "a commit":
        subprocess.run([*command, "commit", "-q", "--allow-empty", "-m", "first"], check=True)
        head = (tmp_path / ".git" / "HEAD").read_text().removeprefix("ref: ").strip()
        commit = (tmp_path / ".git" / head).read_text().strip()
    if git == "no program":
        monkeypatch.setenv("PATH", str(tmp_path))
    assert records.commit() == commit


# What is recorded in this project's own data/.

FOLDERS = sorted(
    path
    for ablation in ABLATIONS
    for path in (records.PROJECT / "data" / ablation).glob("b*-seed*/")
)
each_recorded_run = pytest.mark.parametrize(
    "folder",
    FOLDERS or [pytest.param(None, marks=pytest.mark.skip(reason="data/ holds no run yet"))],
    ids=[f"{path.parent.name}/{path.name}" for path in FOLDERS] or ["none"],
)


@each_recorded_run
def test_recorded_run_is_whole(folder):
    """Every variant × every k and every log point; finite unless it is said to have diverged."""
    run = read_run(folder)
    config, diverged = run.config, run.provenance["diverged"]
    assert set(diverged) <= set(config.variants)
    ks = range(config.n_examples + 1)
    rows = run.errors[["variant", "loops", "k"]].itertuples(index=False, name=None)
    assert list(rows) == [(name, config.b, k) for name in config.variants for k in ks]
    for name in config.variants:
        errors = run.errors[run.errors.variant == name]
        curve = run.curves[run.curves.variant == name]
        end = diverged.get(name, config.steps)
        assert list(curve.step) == list(range(config.log_every, end + 1, config.log_every))
        if name not in diverged:
            assert np.isfinite(errors[["error", "low", "high"]]).all(axis=None)
            assert np.isfinite(curve[["training_loss", "target_error"]]).all(axis=None)
            assert (errors.low <= errors.error).all() and (errors.error <= errors.high).all()
    shapes = {n: p.shape for n, p in LoopedTransformer(config, config.stack).named_parameters()}
    assert {name: weight.shape for name, weight in run.weights().items()} == shapes


def assert_recorded(run, model, k):
    """The model's errors, over all evaluation prompts with k examples each, are the record's."""
    prompts = sampler.evaluation_prompts(run.config)
    errors = evaluation.target_errors(model, prompts, [k], run.config.b).mean(axis=-1)[:, 0]
    recorded = run.errors[run.errors.k == k].set_index("variant").error
    for variant, error in zip(model.variants, errors):
        if variant.name not in run.provenance["diverged"]:
            assert error == pytest.approx(recorded[variant.name], rel=1e-4), variant.name


@each_recorded_run
def test_recorded_weights_are_those_of_the_recorded_errors(folder):
    """Every variant, with few examples: short prompts are cheap to evaluate anew."""
    run = read_run(folder)
    assert_recorded(run, recorded_model(run), min(4, run.config.n_examples))


@each_recorded_run
def test_recorded_weights_are_those_of_the_headline_error(folder):
    """With all examples, one causal variant; for the first seed of each b, to save time."""
    of_this_b = folder.parent.glob(folder.name.split("-seed")[0] + "-seed*")
    seeds = [int(re.search(r"-seed(\d+)", path.name)[1]) for path in of_this_b]
    run = read_run(folder)
    if run.config.seed != min(seeds):
        pytest.skip("the first seed of this b stands for it")
    causal = [i for i, variant in enumerate(run.config.stack) if variant.mask == "causal"]
    assert causal, "an ablation without a causal variant needs another choice here"
    model = LoopedTransformer(run.config, (run.config.stack[causal[-1]],))
    model.load_state_dict(variant_weights(run.weights(), run.config.stack, causal[-1]))
    assert_recorded(run, model, run.config.n_examples)
