"""A notebook gets its parameters, bad ones are refused by name, and a stopped one goes on."""

import os
import re
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import jupytext
import nbformat
import pytest

from icl_core import records
from icl_core.config import Config, ConfigError
from icl_report import execute as module
from icl_report.execute import NOTEBOOKS, parameters_of, refuse_unknown

NOTEBOOK = "1_position_and_mask"
COMMAND = [sys.executable, "-m", "icl_report.execute", NOTEBOOK]


def execute(target, *words, **environment):
    return subprocess.run(
        [*COMMAND, str(target), *words],
        cwd=records.PROJECT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=os.environ | environment,
    )


def parameters():
    return parameters_of(jupytext.read(NOTEBOOKS / f"{NOTEBOOK}.py"))


def test_the_parameters_are_those_of_their_cell():
    assert parameters().items() >= {"b": 1, "seed": 42, "setup": "source", "out": "."}.items()


def test_unknown_names_are_refused_before_anything_runs(tmp_path):
    """By name, with the accepted ones; an abbreviation is unknown too."""
    done = execute(tmp_path / "a.ipynb", "--sed", "3", "--set", "gpt2")
    said = done.stdout.decode()
    assert done.returncode == 2 and "unrecognized arguments: --sed 3 --set gpt2" in said
    assert all(f"--{name}" in said for name in parameters())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "words, message",
    [
        (
            ["1_position", "x"],
            "no notebook '1_position'; there are 0_report, 1_position_and_mask, ",
        ),
        ([NOTEBOOK, "x", "--b", "five"], "argument --b: invalid int value: 'five'"),
    ],
)
def test_a_bad_command_is_refused_by_name(words, message):
    command = [*COMMAND[:3], *words]
    done = subprocess.run(command, cwd=records.PROJECT, capture_output=True, encoding="utf-8")
    assert done.returncode == 2 and message in done.stderr


def test_a_notebook_without_jupytext_s_header_is_refused_in_words(tmp_path, monkeypatch, capsys):
    """Not with papermill's "No language found in notebook"; with those 12 lines it is read."""
    monkeypatch.setattr(module, "NOTEBOOKS", tmp_path)
    monkeypatch.setattr(sys, "argv", ["execute", "own", str(tmp_path / "own.ipynb")])
    bare = '# %% tags=["parameters"]\nb: int = 1  # loop iterations / число итераций\n'
    (tmp_path / "own.py").write_text(bare, encoding="utf-8")
    with pytest.raises(SystemExit):
        module.main()
    told = capsys.readouterr().err
    assert f"{tmp_path / 'own.py'} lacks jupytext's header: copy the first 12 lines" in told
    chapter = (NOTEBOOKS / f"{NOTEBOOK}.py").read_text(encoding="utf-8").splitlines(keepends=True)
    (tmp_path / "own.py").write_text("".join(chapter[:12]) + bare, encoding="utf-8")
    executed = []
    monkeypatch.setattr(module, "execute", lambda *given: executed.append(given))
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    module.main()
    assert len(executed) == 1


def test_papermill_s_unknown_names_are_refused_in_the_notebook():
    history = ["", "b: int = 1", "# Parameters\nb = 5\nsed = 3\n", "refuse_unknown(In, ['b'])"]
    with pytest.raises(ConfigError, match=r"^sed: no such parameter.* the parameters are b, seed$"):
        refuse_unknown(history, ["b", "seed"])
    refuse_unknown(history, ["b", "sed"])
    refuse_unknown(history[:2], [])


def test_the_notebook_refuses_what_its_cell_of_parameters_does_not_have():
    """The list that it gives is the cell's."""
    source = (NOTEBOOKS / f"{NOTEBOOK}.py").read_text(encoding="utf-8")
    (listed,) = re.findall(r"^refuse_unknown\([^,]*In\b[^,]*, \[(.*?)\]\)", source, re.M | re.S)
    assert {name.strip(' "') for name in listed.split(",")} == parameters().keys()


@pytest.mark.parametrize("theirs", [None, "", f"/one{os.pathsep}/two"])
def test_a_kernel_finds_this_checkout_first_and_what_else_its_reader_has(
    tmp_path, monkeypatch, theirs
):
    monkeypatch.setenv("PYTHONPATH", "")  # as it is now, afterwards
    if theirs is None:
        monkeypatch.delenv("PYTHONPATH")
    else:
        monkeypatch.setenv("PYTHONPATH", theirs)
    paths = []
    papermill = SimpleNamespace(
        execute_notebook=lambda *_, **__: paths.append(os.environ["PYTHONPATH"])
    )
    monkeypatch.setitem(sys.modules, "papermill", papermill)
    module.execute(nbformat.v4.new_notebook(), tmp_path / "a.ipynb", {})
    expected = [str(records.PROJECT), *(["/one", "/two"] if theirs else [])]
    assert paths == [os.pathsep.join(expected)]


@pytest.mark.long
def test_a_failed_run_s_log_ends_with_the_whole_reason(tmp_path):
    """In UTF-8, whatever the locale; nothing is written but the notebook with the error."""
    target = tmp_path / "new" / "a.ipynb"
    words = ["--b", "101", "--seed=-1", "--out", str(tmp_path / "out")]
    done = execute(target, *words, LC_ALL="C", PYTHONUTF8="0", PYTHONIOENCODING="ascii")
    said = done.stdout.decode("utf-8")
    *_, first, b, seed = said.splitlines()
    assert done.returncode == 1
    assert first.endswith("ConfigError: 2 bad parameters, nothing was trained:")
    assert b.strip().startswith("b = 101: must be") and seed.strip().startswith("seed = -1: must")
    assert "\x1b" not in said
    assert [path.name for path in tmp_path.iterdir()] == ["new"]
    cells = nbformat.read(target, as_version=4).cells
    (injected,) = (c for c in cells if "injected-parameters" in c.metadata.get("tags", ()))
    assert "seed = -1" in injected.source and "setup" not in injected.source


def wait_until(happened):
    """Five minutes at the most: the machine may be busy with hours of training."""
    deadline = time.monotonic() + 300
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_run_stopped_in_its_fourth_variant_keeps_three_and_goes_on(tmp_path, number):
    words = ["--setup", "smoke", "--seed", "0", "--steps", "100000", "--out", str(tmp_path)]
    variants = ["none", "CM", "SPE", "LPE", "SPE + CM", "LPE + CM"]
    configs = [Config(setup="smoke", variant=own, seed=0, steps=300) for own in variants]
    words[5] = "300"
    folders = [records.run_folder(str(tmp_path), config) for config in configs]
    process = subprocess.Popen(
        [*COMMAND, str(tmp_path / "a.ipynb"), *words],
        cwd=records.PROJECT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        start_new_session=True,
    )
    try:
        held = records.work_folder(str(tmp_path), configs[3]).with_suffix(".holder")
        wait_until(lambda: held.exists() or process.poll() is not None)
        process.send_signal(number)
        said = process.communicate(timeout=120)[0]
    finally:
        process.kill()
        process.wait()
    assert process.returncode, said
    assert ("SIGTERM: " in said) == (number == signal.SIGTERM)
    wait_until(lambda: not held.exists() or number == signal.SIGKILL)
    before = {folder: (folder / "config.json").read_bytes() for folder in folders[:3]}
    done = execute(tmp_path / "a.ipynb", *words)
    assert done.returncode == 0, done.stdout.decode()
    assert all(records.read_run(folder).config in configs for folder in folders)
    assert all((folder / "config.json").read_bytes() == own for folder, own in before.items())
