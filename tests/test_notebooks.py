"""The notebooks as texts: both languages side by side, short cells, executed copy in step."""

import ast
import re
from pathlib import Path
from types import SimpleNamespace

import jupytext
import nbformat
import pandas as pd
import pytest

from icl_report import report
from icl_report.config import Config
from icl_report.records import PROJECT
from icl_report.verdicts import claim, instability, per_run

SOURCES = sorted((PROJECT / "notebooks").glob("*.py"))
# Until a run of it is recorded, a notebook is only executed in the smoke grid (test_grid.py).
EXECUTED = [path for path in SOURCES if path.with_suffix(".ipynb").exists()]
FORMULA = re.compile(r"\$\$?[^$]+\$\$?")
# A term that the English cell uses must have its Russian counterpart in the Russian cell.
GLOSSARY = {
    r"in-context example": r"in-context пример",
    r"prompt": r"промпт",
    r"positional encoding": r"позиционн\w+ кодировани",
    r"sinusoidal": r"синусоидальн",
    r"causal mask": r"каузальн\w+ маск|маск",
    r"loop iteration": r"итераци\w+ цикла",
    r"looped transformer": r"зацикленн\w+ трансформер",
    r"training loss": r"функци\w+ потерь на обучении",
    r"target error": r"ошибк\w+ (варианта \$v\$ )?в целевой задаче",
    r"label leakage|the leak": r"утечк\w+( ответов)?",
    r"least squares": r"метод\w* наименьших квадратов",
    r"confidence interval": r"доверительн\w+ интервал",
    r"\bseed": r"з[её]рн",
    r"\bbatch": r"батч",
}


def cells(path: Path) -> list:
    return jupytext.read(path).cells


def tags(cell) -> list[str]:
    return cell.metadata.get("tags", [])


def pairs(path: Path) -> list[tuple[str, str]]:
    """(Russian text, English text) of each two-language cell; fails where one has no twin."""
    prose = [cell for cell in cells(path) if cell.cell_type == "markdown"]
    assert [tags(cell) for cell in prose] == [["ru"], ["en"]] * (len(prose) // 2)
    texts = [cell.source for cell in prose]
    return list(zip(texts[::2], texts[1::2]))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
class TestNotebook:
    def test_every_russian_cell_is_followed_by_its_english_twin(self, path):
        kinds = [tags(c)[0] if c.cell_type == "markdown" else "code" for c in cells(path)]
        for kind, following in zip(kinds, [*kinds[1:], "end"]):
            assert (kind == "ru") == (following == "en")

    def test_twins_share_headings_and_formulas(self, path):
        for ru, en in pairs(path):
            assert re.findall(r"^#+ ", ru, re.M) == re.findall(r"^#+ ", en, re.M)
            assert sorted(FORMULA.findall(ru)) == sorted(FORMULA.findall(en)), en
            assert re.findall(r"\]\((.*?)\)", ru) == re.findall(r"\]\((.*?)\)", en)

    def test_twins_use_the_same_terms(self, path):
        for ru, en in pairs(path):
            for english, russian in GLOSSARY.items():
                if re.search(english, re.sub("`.*?`", "", en), re.I):
                    said = re.search(russian, " ".join(ru.split()), re.I)
                    assert said, f"{english!r} in: {en}\nbut: {ru}"

    def test_russian_is_russian_and_english_is_english(self, path):
        for ru, en in pairs(path):
            assert re.search("[а-яё]", ru, re.I)
            assert not re.search("[а-яё]", en, re.I)

    def test_code_cells_are_short(self, path):
        for cell in cells(path):
            if cell.cell_type == "code":
                assert cell.source.count("\n") < 25, cell.source

    def test_parameters_are_flat_typed_explained_and_the_configs_own(self, path):
        (cell,) = [cell for cell in cells(path) if "parameters" in tags(cell)]
        for node, line in zip(ast.parse(cell.source).body, cell.source.splitlines(), strict=True):
            assert isinstance(node, ast.AnnAssign) and isinstance(node.value, ast.Constant), line
            assert re.search(r"# \S.* / \S*[а-яё]", line), line
            assert "=" not in line.partition("=")[2], "papermill would not list it"
            default = Config.model_fields.get(node.target.id)
            assert default is None or default.default == node.value.value, line


@pytest.mark.parametrize("path", EXECUTED, ids=lambda path: path.stem)
class TestExecutedNotebook:
    def test_executed_copy_is_of_this_text_and_ran_without_errors(self, path):
        stored = nbformat.read(path.with_suffix(".ipynb"), as_version=4)
        text = [(c.cell_type, c.source, tags(c)) for c in cells(path)]
        own = [c for c in stored.cells if tags(c) != ["injected-parameters"]]
        assert [(c.cell_type, c.source, tags(c)) for c in own] == text
        code = [cell for cell in stored.cells if cell.cell_type == "code"]
        assert all(cell.execution_count for cell in code), "make report executes it"
        for cell in code:
            assert not [o for o in cell.outputs if o.output_type in ("error", "stream")], (
                cell.source
            )

    def test_outputs_come_in_both_languages(self, path):
        for cell in nbformat.read(path.with_suffix(".ipynb"), as_version=4).cells:
            languages = [o.metadata.get("language") for o in cell.get("outputs", [])]
            assert languages.count("ru") == languages.count("en") == len(languages) / 2


def claims(errors: dict[str, float], losses: dict[str, float], wobble: dict[str, float]):
    """The first notebook's claims, computed by its own cells from three runs of these numbers."""
    jitter = {0: 0.98, 1: 1.0, 2: 1.03}
    rows = [(1, seed, v) for seed in jitter for v in errors]
    keys = pd.DataFrame(rows, columns=["b", "seed", "variant"])
    scale = keys.seed.map(jitter)
    full = keys.assign(
        error=keys.variant.map(errors) * scale, training_loss=keys.variant.map(losses) * scale
    )
    # At each step another of the three runs strays, as far as its variant wobbles.
    stray = [keys.assign(step=step, up=(keys.seed == step) * 1.0) for step in jitter]
    curves = pd.concat(stray)
    curves["target_error"] = curves.variant.map(wobble).fillna(1) ** curves.up
    names = {
        **{"full": full, "curves": curves, "prompts": None},
        "evaluation": SimpleNamespace(zero_error=lambda prompts: 1.0),
        **{"per_run": per_run, "instability": instability, "claim": claim, "report": report},
    }
    for cell in cells(PROJECT / "notebooks" / "1_position_and_mask.py"):
        if cell.source.startswith(("def error(", "def fall(", "claims = [")):
            exec(cell.source, names)
    return {(row["point"], row["quantity"]): row["status"] for row in names["claims"]}


def test_claims_of_the_first_notebook_come_out_either_way():
    as_claimed = claims(
        {"SPE": 1, "LPE": 1, "SPE + CM": 0.2, "LPE + CM": 0.05, "CM": 0.21, "none": 1},
        {"SPE": 0.02, "LPE": 0.02, "SPE + CM": 0.3, "LPE + CM": 0.1, "CM": 0.3, "none": 1},
        {"SPE + CM": 2, "LPE + CM": 1.1},
    )
    refuted = {key for key, status in as_claimed.items() if status == "not confirmed"}
    assert refuted == {("8.2", "E(SPE + CM) / E(LPE + CM)")}  # claim 3 the other way round
    assert as_claimed["8.1", "E(CM) / E(SPE + CM)"] == "confirmed"
    assert set(as_claimed.values()) == {"confirmed", "not confirmed"}
    contrary = claims(
        {"SPE": 0.1, "LPE": 0.1, "SPE + CM": 0.2, "LPE + CM": 0.4, "CM": 0.35, "none": 0.1},
        {"SPE": 0.9, "LPE": 0.9, "SPE + CM": 0.3, "LPE + CM": 0.1, "CM": 0.3, "none": 1},
        {"SPE + CM": 1.1, "LPE + CM": 2},
    )
    confirmed = {key for key, status in contrary.items() if status == "confirmed"}
    assert confirmed == {("8.2", "E(SPE + CM) / E(LPE + CM)"), ("8.1", "E(CM) / E(SPE + CM)")}
