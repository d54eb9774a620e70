"""The notebooks as texts: both languages side by side, short cells, executed copy in step."""

import ast
import re
from pathlib import Path

import jupytext
import nbformat
import pytest

from icl_core.config import Config
from icl_core.records import PROJECT, RecordError
from icl_report.claims import PILOT
from icl_report.execute import parameters_of
from icl_report.text import RUSSIAN

SOURCES = sorted((PROJECT / "notebooks").glob("*.py"))
# Until a run of it is recorded, a notebook is only executed in the smoke grid (test_grid.py).
EXECUTED = [path for path in SOURCES if path.with_suffix(".ipynb").exists()]
OF_THE_SETUP = 0  # steps: as many as the setup has
CELLS = {"0_report": 110}  # at most; of a chapter 75
BYTES = {"0_report": 3.2e6}  # at most; it holds the weights of four models; of a chapter 1.5e6
CODE_LINES = 15  # without its sentences
RUSSIAN_LETTER = re.compile("[а-яё]", re.I)
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
    r"\bseed": r"з[её]р(н|ен)",
    r"\bbatch": r"батч",
}


def cells(path: Path) -> list:
    return jupytext.read(path).cells


def tags(cell) -> list[str]:
    return cell.metadata.get("tags", [])


def pairs(path: Path) -> list[tuple[str, str]]:
    """(Russian text, English text) of each two-language cell; fails where one has no twin."""
    prose = [cell for cell in cells(path) if cell.cell_type == "markdown"]
    assert [tags(cell)[0] for cell in prose] == ["ru", "en"] * (len(prose) // 2)
    assert [tags(cell)[1:] for cell in prose[::2]] == [tags(cell)[1:] for cell in prose[1::2]]
    texts = [cell.source for cell in prose]
    return list(zip(texts[::2], texts[1::2]))


def is_say(node: ast.Call) -> bool:
    return ast.unparse(node.func) == "text.say"


def shown(path: Path) -> list:
    """The outputs of the executed notebook, in order; a caption's cell stands as a string."""
    found = []
    for cell in nbformat.read(path.with_suffix(".ipynb"), as_version=4).cells:
        captions = ["caption", *tags(cell)] if "caption" in tags(cell) else []
        found += cell.outputs if cell.cell_type == "code" else captions[:1]
    return found


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

    def test_cells_are_few_and_those_of_code_short(self, path):
        assert len(cells(path)) <= CELLS.get(path.stem, 75)
        for cell in cells(path):
            if cell.cell_type == "code":
                tree = ast.parse(cell.source)
                said = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and is_say(n)]
                prose = sum(node.end_lineno - node.lineno + 1 for node in said)
                assert cell.source.count("\n") + 1 - prose <= CODE_LINES, cell.source

    def test_code_speaks_russian_in_sentences_alone(self, path):
        """The Russian of figures and tables stands in glossary.yaml."""
        for cell in cells(path):
            if cell.cell_type != "code" or "parameters" in tags(cell):
                continue
            tree = ast.parse(cell.source)
            own = [word for node in ast.walk(tree) for word in getattr(node, "keywords", ())]
            said = {id(part) for word in own if word.arg == "ru" for part in ast.walk(word.value)}
            for node in ast.walk(tree):
                if isinstance(node, ast.Constant) and id(node) not in said:
                    assert not RUSSIAN_LETTER.search(str(node.value)), node.value

    def test_parameters_are_flat_typed_explained_and_the_configs_own(self, path):
        (cell,) = [cell for cell in cells(path) if "parameters" in tags(cell)]
        for node, line in zip(ast.parse(cell.source).body, cell.source.splitlines(), strict=True):
            assert isinstance(node, ast.AnnAssign) and isinstance(node.value, ast.Constant), line
            assert re.search(r"# \S.* / \S*[а-яё]", line), line
            assert "=" not in line.partition("=")[2], "papermill would not list it"
            default = Config.model_fields.get(node.target.id)
            recorded = [default and default.default, OF_THE_SETUP]
            recorded += PILOT if node.target.id == "seed" else []
            assert default is None or node.value.value in recorded, line


WITH_RUNS = [path for path in SOURCES if "b" in parameters_of(jupytext.read(path))]


@pytest.mark.parametrize("changed", [{}, {"b": 2}, {"seed": 1}, {"setup": "gpt2"}, {"steps": 3}])
@pytest.mark.parametrize("path", WITH_RUNS, ids=lambda path: path.stem)
def test_a_parameter_changes_itself_alone(path, changed):
    """What else it would train, at another b or at full size, is not what was asked for."""
    code = [cell for cell in cells(path) if cell.cell_type == "code"]
    (first,) = [number for number, cell in enumerate(code) if "parameters" in tags(cell)]
    (last,) = [number for number, cell in enumerate(code) if "\nconfigs = " in cell.source]
    known = {"Config": Config, "refuse_unknown": lambda *_: None, "In": []}
    for cell in code[first : last + 1]:
        exec(cell.source, known)
        if cell is code[first]:
            asked = {"b": 1, "seed": known["seed"], "setup": "source"} | changed
            known |= changed
    configs = known["configs"]
    for config in configs:
        base, *choices = config.setup.split("+")
        own = {"variant": config.variant, "setup": "+".join([asked["setup"], *choices])}
        assert base == asked["setup"] and config == Config(**asked | own)
    assert len({(config.setup, config.variant) for config in configs}) == len(configs) > 1
    trained = re.findall(r"training\.run\((.*)", "\n".join(cell.source for cell in code))
    assert all(re.fullmatch(r"(\w+), out\) for \1 in configs\].*", own) for own in trained), trained


@pytest.mark.parametrize("path", [p for p in SOURCES if p not in WITH_RUNS], ids=lambda p: p.stem)
def test_a_notebook_that_trains_nothing_says_so_where_nothing_is_recorded(path, tmp_path):
    known = {}
    with pytest.raises(RecordError, match=re.escape(f"out = '{tmp_path}' holds no run")):
        for cell in cells(path):
            exec(cell.source if cell.cell_type == "code" else "", known)
            known |= {"out": str(tmp_path)} if "parameters" in tags(cell) else {}


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

    def test_sentences_come_in_both_languages_and_figures_and_tables_once(self, path):
        """With a Russian twin each; a caption in both languages follows every figure."""
        outputs = shown(path)
        for number, output in enumerate(outputs):
            about = {} if output == "caption" else output.metadata
            assert "missing" not in about, about
            if RUSSIAN in ({} if output == "caption" else output.data):
                assert "language" not in about
            if output == "caption":
                before = [o for o in outputs[:number] if o != "caption"][-1].metadata
                assert {"name", "again"} & set(before), "a caption without its figure"
            if {"name", "again"} & set(about):
                following = outputs[number + 1 : number + 3]
                roles = [o if o == "caption" else o.metadata.get("role") for o in following]
                assert roles == ["caption"] * 2, about
        languages = [o.metadata.get("language") for o in outputs if o != "caption"]
        spoken = [language for language in languages if language]
        assert spoken == ["ru", "en"] * (len(spoken) // 2)

    def test_the_executed_notebook_is_small(self, path):
        """GitHub shows it, and it opens in a second; half of it are the Russian twins."""
        assert path.with_suffix(".ipynb").stat().st_size < BYTES.get(path.stem, 1.5e6)
