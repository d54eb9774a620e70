"""The notebooks as texts: both languages side by side, short cells, executed copy in step."""

import ast
import re
from pathlib import Path

import jupytext
import nbformat
import pytest

from icl_core.config import Config
from icl_core.records import PROJECT

SOURCES = sorted((PROJECT / "notebooks").glob("*.py"))
# Until a run of it is recorded, a notebook is only executed in the smoke grid (test_grid.py).
EXECUTED = [path for path in SOURCES if path.with_suffix(".ipynb").exists()]
OF_THE_SETUP = 0  # steps: as many as the setup has
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
    r"training loss": r"функци\w+ потерь|ошибк\w+ на обучении",
    r"target error": r"ошибк\w+ (в целевой задаче|на запросе)",
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
            theirs, ours = (sorted(FORMULA.findall(text)) for text in (ru.replace("{,}", "."), en))
            assert theirs == ours, en
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
                assert cell.source.count("\n") < 40, cell.source

    def test_parameters_are_flat_typed_explained_and_the_configs_own(self, path):
        (cell,) = [cell for cell in cells(path) if "parameters" in tags(cell)]
        for node, line in zip(ast.parse(cell.source).body, cell.source.splitlines(), strict=True):
            assert isinstance(node, ast.AnnAssign) and isinstance(node.value, ast.Constant), line
            assert re.search(r"# \S.* / \S*[а-яё]", line), line
            assert "=" not in line.partition("=")[2], "papermill would not list it"
            default = Config.model_fields.get(node.target.id)
            assert default is None or node.value.value in (default.default, OF_THE_SETUP), line


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
