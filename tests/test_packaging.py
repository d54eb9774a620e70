"""What a fresh clone relies on: declared dependencies, the front door, no trace of a machine."""

import ast
import getpass
import importlib
import importlib.util
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from rattler import MatchSpec

PROJECT = Path(__file__).resolve().parents[1]
PYPROJECT = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CONDA_NAMES = {"torch": "pytorch", "matplotlib": "matplotlib-base"}


def declared(*extras):
    """Name -> version bound of the dependencies."""
    entries = PYPROJECT["dependencies"] + [
        entry for extra in extras for entry in PYPROJECT["optional-dependencies"][extra]
    ]
    requirements = [Requirement(entry) for entry in entries]
    return {canonicalize_name(r.name): str(r.specifier) for r in requirements}


def imported(*files):
    """The distributions that the files import."""
    modules = set()
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                modules |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                modules.add(node.module.split(".")[0])
    modules -= {*sys.stdlib_module_names, "icl_core", "icl_report", "conftest"}
    owners = packages_distributions()
    return {canonicalize_name(owners.get(module, [module])[0]) for module in modules}


def test_environment_is_pyproject_for_conda():
    environment = yaml.safe_load((PROJECT / "environment.yml").read_text(encoding="utf-8"))
    *entries, pip, of_pip = environment["dependencies"]
    specs = [MatchSpec(entry) for entry in entries]
    theirs = {spec.name.normalized: str(spec.version) for spec in specs}
    ours = {CONDA_NAMES.get(name, name): bound for name, bound in declared().items()}
    assert theirs == {"python": PYPROJECT["requires-python"], **ours}
    assert (pip, of_pip) == ("pip", {"pip": ["--editable ."]})


def test_every_import_is_a_declared_dependency():
    folders = ("icl_core", "icl_report", "notebooks")
    assert imported(*(f for own in folders for f in (PROJECT / own).rglob("*.py"))) <= (
        declared().keys()
    )
    assert imported(*(PROJECT / "tests").rglob("*.py")) <= declared("test").keys()


def test_the_instrument_knows_nothing_of_the_press():
    for path in (PROJECT / "icl_core").glob("*.py"):
        assert "icl_report" not in path.read_text(encoding="utf-8"), path.name


def in_the_locale_s_encoding(source):
    """Lines of calls that read or write a text without saying how it is encoded."""
    lines = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            whole, name = ast.unparse(node.func), getattr(node.func, "attr", "")
            said = {word.arg: ast.unparse(word.value) for word in node.keywords}
            mode = [*map(ast.unparse, node.args[1:2]), *filter(None, [said.get("mode")])]
            opens = whole == "open" and "b" not in "".join(mode)
            piped = {"text", "universal_newlines"} & said.keys()
            if (opens or piped or name in ("read_text", "write_text")) and "encoding" not in said:
                lines.append(node.lineno)
    return lines


def test_every_text_says_how_it_is_encoded():
    """Else the locale decides: where it is not UTF-8 a page comes out garbled, without a word."""
    wrong = 'open(p)\nopen(p, "w")\nopen(p, mode="a")\np.read_text()\nrun(c, text=True)'
    right = 'open(p, "rb")\nopen(p, "w", encoding="utf-8")\np.write_text(t, encoding="utf-8")'
    assert in_the_locale_s_encoding(f"{wrong}\n{right}") == [1, 2, 3, 4, 5]
    folders = ("icl_core", "icl_report", "notebooks", "benchmarks")
    sources = [path for folder in folders for path in (PROJECT / folder).glob("*.py")]
    read = {path.name: path.read_text(encoding="utf-8") for path in sources}
    found = {name: in_the_locale_s_encoding(source) for name, source in read.items()}
    assert {name: lines for name, lines in found.items() if lines} == {}


OF_UNIX = ("fcntl", "grp", "pty", "pwd", "readline", "resource", "syslog", "termios", "tty")
OF_UNIX_OS = ("fork", "getpgid", "getuid", "killpg", "sched_getaffinity", "uname")


def test_runs_are_read_on_windows_too(monkeypatch):
    """Each module imported without what Windows lacks, a run read; git leaves its bytes alone."""
    paths = sorted((*PROJECT.glob("icl_core/*.py"), *PROJECT.glob("icl_report/*.py")))
    for path in paths:  # what they import, as the system has it: that part is not ours
        importlib.import_module(f"{path.parent.name}.{path.stem}")
    for name in OF_UNIX:
        monkeypatch.setitem(sys.modules, name, None)
    for name in OF_UNIX_OS:
        monkeypatch.delattr(os, name)
    anew = {}
    for path in paths:
        name = f"windows_{path.parent.name}_{path.stem}"
        spec = importlib.util.spec_from_file_location(name, path)
        anew[path.stem] = module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)
        spec.loader.exec_module(module)
    run = anew["records"].read_run(min(PROJECT.glob("data/*/*/b*-seed*")))
    assert len(run.table("errors.csv")) and anew["training"].recorded_model(run)
    attributes = (PROJECT / ".gitattributes").read_text(encoding="utf-8").splitlines()
    assert "data/** -text" in attributes, "else a checkout with CRLF breaks every sum"


def test_make_help_lists_every_target():
    makefile = (PROJECT / "Makefile").read_text(encoding="utf-8")
    targets = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[1].split()
    shown = subprocess.run(["make", "help"], cwd=PROJECT, capture_output=True, text=True).stdout
    assert re.findall(r"^  make ([\w-]+) +\S", shown, re.MULTILINE) == targets


@pytest.mark.parametrize("place, renewed", [("here", False), ("elsewhere", True), (None, True)])
def test_an_environment_that_was_made_in_another_place_is_made_anew(tmp_path, place, renewed):
    """Else make says that it is ready, and every command in it leads to the old place."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(PROJECT / name, tmp_path)
    (tmp_path / ".venv").mkdir()
    if place:
        words = f"{tmp_path if place == 'here' else '/old/place'}\n"
        (tmp_path / ".venv" / "ready").write_text(words, encoding="utf-8")
    dry = ["make", "--dry-run", "setup"]
    said = subprocess.run(dry, cwd=tmp_path, capture_output=True, encoding="utf-8").stdout
    assert ("-m venv" in said) == renewed


@pytest.fixture
def ready(tmp_path):
    """A folder with the Makefile and its grids, whose environment passes for made."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(PROJECT / name, tmp_path)
    shutil.copytree(PROJECT / "grids", tmp_path / "grids")
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "ready").write_text(f"{tmp_path}\n", encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize("user, allowed", [(0, ["--allow-root"]), (1000, [])])
def test_jupyterlab_opens_for_root_too(ready, user, allowed):
    commands = {"id": f"echo {user}", ".venv/bin/jupyter-lab": 'echo "$@"'}
    for name, line in commands.items():
        (ready / name).write_text(f"#!/bin/sh\n{line}\n", encoding="utf-8")
        (ready / name).chmod(0o755)
    path = {"PATH": f"{ready}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        ["make", "--no-print-directory", "lab"],
        cwd=ready,
        capture_output=True,
        encoding="utf-8",
        env=os.environ | path,
    )
    assert (done.stdout.split(), done.stderr) == ([*allowed, "notebooks"], "")


@pytest.mark.parametrize("name", ["smol", "records"])
def test_a_grid_that_is_not_there_is_refused_in_one_line(ready, name):
    make = ["make", "--dry-run", "--no-print-directory", "report"]
    done = subprocess.run([*make, f"GRID={name}"], cwd=ready, capture_output=True, encoding="utf-8")
    assert done.returncode == 2 and done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert f"GRID={name}: no such grid; there are full quick smoke, and" in line
    shutil.copy(ready / "grids" / "smoke.yaml", ready / "grids" / f"{name}.yaml")
    done = subprocess.run([*make, f"GRID={name}"], cwd=ready, capture_output=True, encoding="utf-8")
    assert f"grids/{name}.yaml" in done.stdout, done.stderr


def test_ci_runs_the_tests():
    script = PROJECT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert "make test" in script.read_text(encoding="utf-8").splitlines()


def test_no_file_names_a_home_folder():
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=PROJECT, capture_output=True, text=True)
    if names.returncode:
        pytest.skip("not a git clone")
    home = re.compile(r"(?<![\w.])(/(home|root|Users)/|[A-Z]:\\+Users\\)" + f"|{Path.home()}/.")
    found = {}
    for name in filter(None, names.stdout.split("\0")):
        try:
            match = home.search((PROJECT / name).read_text(encoding="utf-8"))
        except (UnicodeDecodeError, FileNotFoundError):
            continue  # not a text; or deleted and not yet committed
        if match:
            found[name] = match[0]
    assert not found


def test_no_product_names_a_machine_a_person_or_a_place():
    """Over all tracked records, notebooks, figures and pages; of this machine, and of any."""
    listed = ["git", "ls-files", "-z", "data", "notebooks", "figures", "report", "grids"]
    names = subprocess.run(listed, cwd=PROJECT, capture_output=True, text=True).stdout
    paths = [PROJECT / name for name in names.split("\0") if name and (PROJECT / name).exists()]
    assert len(paths) > 30
    here = [f"{getpass.getuser()}@", f"@{socket.gethostname()}", '"host":', '"pid":']
    words = "|".join(re.escape(word) for word in [*here, str(Path.home()), tempfile.gettempdir()])
    folders = r"/(?:home|root|Users|tmp|var|work|mnt|scratch|usr|opt)/\w"
    hint = re.compile(rf"(?<![\w.-])(?:{words})|(?<![\w.:/>-]){folders}".encode())
    found = {
        path.name: match[0]
        for path in paths
        if path.suffix != ".safetensors" and (match := hint.search(path.read_bytes()))
    }
    assert found == {}
