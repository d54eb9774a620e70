"""A variant is added by one class and its name in a notebook: from there to the page."""

import os
import shutil
import subprocess
import sys

import pytest

from icl_core.records import PROJECT

CLASS = '''

class Backwards(Learned):
    """p[t] = a learned row a position, counted from the query back."""

    name, colour = "back", "#aa0000"
    index: ClassVar = {"rows": lambda t: t.flip(0)}
'''
GRID = """out: build/added
notebooks:
  1_position_and_mask: {setups: [smoke], b: [1], seeds: [0]}
  2_two_token_encoding: {setups: [smoke], b: [2], seeds: [0]}
"""


@pytest.mark.long
def test_a_variant_is_one_class_and_its_name_in_a_notebook(tmp_path):
    names = (
        "icl_core",
        "icl_report",
        "notebooks",
        "profiles",
        "Snakefile",
        "data/source/published",
    )
    for name in names:
        copied = shutil.copytree if (PROJECT / name).is_dir() else shutil.copy
        copied(PROJECT / name, tmp_path / name)
    edits = {
        "icl_core/encodings.py": ("\n\nclass Types(Learned)", f"{CLASS}\n\nclass Types(Learned)"),
        "notebooks/1_position_and_mask.py": (
            '"LPE", "SPE + CM", "LPE + CM"]',
            '"LPE", "SPE + CM", "LPE + CM", "back + CM"]',
        ),
        "icl_report/glossary.yaml": (
            "\nnone: ",
            "\nback: назад\nnone: ",
        ),  # a word, so it has Russian
    }
    for name, (old, new) in edits.items():
        text = (tmp_path / name).read_text(encoding="utf-8")
        assert text.count(old) == 1, name
        (tmp_path / name).write_text(text.replace(old, new), encoding="utf-8")
    (tmp_path / "grid.yaml").write_text(GRID, encoding="utf-8")
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--configfile", "grid.yaml"]
    done = subprocess.run(
        [*command, "--show-failed-logs", "--", "report"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stdout
    out = tmp_path / "build" / "added"
    assert (out / "data/smoke/back_cm/b1-seed0/config.json").exists()
    for language, words in (("ru", "назад\u00a0+\u00a0CM"), ("en", "back\u00a0+\u00a0CM")):
        page = (out / f"report/appendix.{language}.html").read_text(encoding="utf-8")
        assert f"{words}</td>" in page
