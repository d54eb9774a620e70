"""Both READMEs: the same commands, all of which work; links and pictures that are there."""

import re
import subprocess
import sys

import nbformat
import pytest

from icl_core.records import PROJECT
from icl_report import readme

READMES = ("README.md", "README.ru.md")
PAGES = (*READMES, *sorted(f"docs/{path.name}" for path in PROJECT.glob("docs/*.md")))


def commands(readme: str) -> list[str]:
    """The shell commands of a README's code blocks, without comments."""
    blocks = re.findall(r"```sh\n(.*?)```", (PROJECT / readme).read_text(encoding="utf-8"), re.S)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [" ".join(line.split("#")[0].split()) for line in lines if line.split("#")[0].strip()]


def test_both_readmes_give_the_same_commands():
    assert commands("README.md") == commands("README.ru.md")


@pytest.mark.parametrize("command", [c for c in commands("README.md") if c.startswith("make ")])
def test_every_make_command_can_be_made(command):
    for part in command.split("&&"):
        if part.strip().startswith("make "):
            dry = subprocess.run([*part.split(), "--dry-run"], cwd=PROJECT, capture_output=True)
            assert dry.returncode == 0, dry.stderr.decode()


def test_no_command_is_left_untried():
    """What is not make is one of those that the next test runs, or conda, which is not here."""
    others = [c for c in commands("README.md") if not c.startswith("make ")]
    assert [c.split()[0] for c in others] == [".venv/bin/papermill"]


@pytest.mark.long  # the smoke grid executes the same notebook
def test_the_papermill_command_makes_a_run(tmp_path):
    """As README has it but for the setup and for where it goes."""
    (command,) = (c for c in commands("README.md") if "papermill" in c)
    words = command.split("papermill")[1].split()
    words[1] = str(tmp_path / "run.ipynb")
    small = ["-p", "setup", "smoke", "-p", "out", str(tmp_path)]
    papermill = [sys.executable, "-m", "papermill", *words, *small]
    done = subprocess.run(papermill, cwd=PROJECT, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    b, seed = (re.search(rf"-p {name} (\d+)", command)[1] for name in ("b", "seed"))
    runs = sorted(path.name for path in tmp_path.glob("data/smoke/*/b*-seed*"))
    assert runs == [f"b{b}-seed{seed}"] * 6
    code = [c for c in nbformat.read(words[1], as_version=4).cells if c.cell_type == "code"]
    assert all(cell.execution_count for cell in code)


@pytest.mark.parametrize("page", PAGES)
def test_every_link_and_picture_exists(page):
    targets = re.findall(r"\]\(([^)]+)\)", (PROJECT / page).read_text(encoding="utf-8"))
    assert targets
    inside = [target for target in targets if "://" not in target]
    assert [
        target for target in inside if not (PROJECT / page).parent.joinpath(target).exists()
    ] == []


@pytest.mark.parametrize("name", READMES)
def test_the_headline_and_the_chapters_are_the_notebooks_own(name, tmp_path):
    """What make report would write; and a README without the marks is refused."""
    text = (PROJECT / name).read_text(encoding="utf-8")
    copy = tmp_path / name
    copy.write_text(text, encoding="utf-8")
    readme.fill(copy, sorted((PROJECT / "notebooks").glob("*.ipynb")))
    assert copy.read_text(encoding="utf-8") == text
    copy.write_text(text.replace("<!-- /headline -->", ""), encoding="utf-8")
    with pytest.raises(ValueError, match="has no <!-- headline -->"):
        readme.fill(copy, [])
