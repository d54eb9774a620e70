"""A page holds one language, asks nobody for anything, and comes out the same every time."""

import base64
import hashlib
import re
from html.parser import HTMLParser

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from icl_core.pages import PLACES, build_pages, clean, mathml, put_headline

HOSTILE = "<script>alert('x')</script>\"><b>"
SVG = '<svg xmlns="http://www.w3.org/2000/svg"><title>рисунок</title></svg>'
VOID = {"meta", "img", "br", "hr", "link", "input"}
PLACE = max(PLACES, key=len)


def text(language, source):
    return new_markdown_cell(source, metadata={"tags": [language]})


def shown(data, **metadata):
    return new_output("display_data", data=data, metadata=metadata)


def example():
    """A notebook as papermill leaves it: two languages, a figure, a table, litter."""
    figures = [
        shown({"image/svg+xml": SVG}, language=lang, alt=f"{alt} {HOSTILE}", caption=caption)
        for lang, alt, caption in [
            ("ru", "кривая падает", f"*Ошибка* при $k$ {HOSTILE}"),
            ("en", "the curve falls", f"*Error* at $k$ {HOSTILE}"),
        ]
    ]
    outputs = [
        new_output("stream", name="stdout", text=f"printed $1 {HOSTILE} in {PLACE}/data\n"),
        new_output("stream", name="stderr", text="/tmp/ipykernel_77/12.py:1: UserWarning: hm\n"),
        *figures,
        shown({"text/markdown": "подпись в лаборатории"}, language="ru", role="caption"),
        shown({"text/markdown": "Ошибка **0,02** при $k = 63$"}, language="ru"),
        shown({"text/markdown": f"Error **0.02** at $k = 63$ {HOSTILE}"}, language="en"),
        shown({"text/html": "<table></table>"}),
        shown({"application/vnd.jupyter.widget-view+json": {"model_id": "77"}}),
        new_output("execute_result", data={"text/plain": "<Axes at 0x7f12>"}, execution_count=41),
    ]
    code = new_code_cell('price = "$5"', execution_count=41, outputs=outputs)
    code.metadata = {"papermill": {"start_time": "2024"}, "execution": {"x": "2024"}, "tags": []}
    injected = new_code_cell("b = 5", metadata={"tags": ["injected-parameters"]})
    cells = [
        text("ru", "# Положение\n\nСтрока `$HOME` и $x_i < y_i$.\n\n$$\\text{если } a \\sim b$$"),
        text("en", "# Position\n\nThe line `$HOME` and $x_i < y_i$.\n\n$$\\text{if } a \\sim b$$"),
        injected,
        code,
        text("ru", "## Вывод о $b$\n\n| имя | $b$ |\n|---|---|\n| `CM` | 5 |"),
        text("en", "## A verdict on $b$\n\n| name | $b$ |\n|---|---|\n| `CM` | 5 |"),
    ]
    metadata = {
        "kernelspec": {"name": "python3", "display_name": "Python 3"},
        "language_info": {"name": "python", "version": "3.11.2"},
        "jupytext": {"formats": "ipynb,py:percent"},
        "papermill": {"output_path": f"{PLACE}/notebook.ipynb"},
        "widgets": {"state": {}},
    }
    return new_notebook(cells=cells, metadata=metadata)


class Page(HTMLParser):
    """What is in a page: tags with their attributes, ids, and whether the tags are balanced."""

    def __init__(self, source):
        super().__init__()
        self.tags, self.open = [], []
        self.feed(source)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def all(self, name):
        return [attrs for tag, attrs in self.tags if tag == name]


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    nbformat.write(example(), folder / "a.ipynb")
    # A second chapter, cleaned before: its cells and tables are called as the first one's.
    nbformat.write(clean(example()), folder / "b.ipynb")
    return [folder / "a.ipynb", folder / "b.ipynb"]


@pytest.fixture(scope="module")
def pages(sources):
    paths = build_pages(sources, sources[0].parent / "report")
    assert [path.name for path in paths] == ["report.ru.html", "report.en.html"]
    assert sorted(paths[0].parent.iterdir()) == sorted(paths)
    return {path.suffixes[0][1:]: path.read_text(encoding="utf-8") for path in paths}


def without(page, *tags):
    """The page's source without these elements."""
    return re.sub(rf"(?s)<({'|'.join(tags)})\b.*?</\1>", "", page)


def test_a_page_keeps_its_language_only(pages):
    pages = {language: without(page, "script") for language, page in pages.items()}
    russian = ["Положение", "Вывод о", "кривая падает", "Ошибка", "Код", "<strong>0,02</strong>"]
    english = ["Position", "A verdict", "curve falls", "Error", "Code", "<strong>0.02</strong>"]
    assert all(words in pages["ru"] and words not in pages["en"] for words in russian)
    assert all(words in pages["en"] and words not in pages["ru"] for words in english)
    for language, page in pages.items():
        assert Page(page).all("html") == [{"lang": language}]
        assert "printed $1" in page  # in no language, so in both
    assert "<title>Положение</title>" in pages["ru"]
    assert 'href="report.en.html"' in pages["ru"] and 'href="report.ru.html"' in pages["en"]


def test_what_a_page_leaves_out(pages):
    for page in pages.values():
        assert "UserWarning" not in page
        assert "подпись в лаборатории" not in page


def test_formulas_are_mathml_and_code_keeps_its_dollars(pages):
    for page in pages.values():
        assert Page(page).all("math")
        assert "<code>$HOME</code>" in page and '"$5"' in page.replace("&quot;", '"')
        assert "$" not in without(page, "code", "pre", "script")
    assert "<mtext>если&nbsp;</mtext>" in pages["ru"].replace("\xa0", "&nbsp;")


def test_a_figure_has_an_alternative_and_a_caption(pages):
    for language, words in [("ru", "кривая падает"), ("en", "the curve falls")]:
        pictures = Page(pages[language]).all("img")
        assert [picture["alt"] for picture in pictures] == [f"{words} {HOSTILE}"] * 2
        assert all(p["src"].startswith("data:image/svg+xml;base64,") for p in pictures)
        assert pages[language].count("<figcaption>") == 2
    assert "<em>Ошибка</em> при <math" in pages["ru"]


def test_hostile_words_stay_words(pages):
    for page in pages.values():
        assert Page(page).all("script") == [{}] and Page(page).all("b") == []  # the page's own
        assert page.count("&lt;script&gt;") >= 4


def test_no_request_leaves_a_page(pages):
    for page in pages.values():
        tags = Page(page).tags
        assert all(attrs.get("src", "data:").startswith("data:") for _, attrs in tags)
        assert not [tag for tag, _ in tags if tag in {"link", "iframe", "object"}]
        assert "url(" not in page and "@import" not in page
        policy = [meta for meta in Page(page).all("meta") if "http-equiv" in meta]
        assert policy[0]["content"].startswith("default-src 'none'")
        (script,) = re.findall("(?s)<script>(.*?)</script>", page)
        own = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert policy[0]["content"].endswith(f"; script-src 'sha256-{own}'")  # and no other


def test_sections_have_one_address_in_both_languages(pages):
    ids = {}
    for language, page in pages.items():
        tags = Page(page).tags
        ids[language] = [attrs["id"] for _, attrs in tags if "id" in attrs]
        assert len(set(ids[language])) == len(ids[language])
        targets = {attrs["href"][1:] for t, attrs in tags if t == "a" and attrs["href"][0] == "#"}
        assert targets == {"section-2", "section-3", "section-4"}  # all but the title
    assert ids["ru"] == ids["en"]


def test_the_same_notebooks_give_the_same_bytes(sources, pages):
    again = build_pages(sources, sources[0].parent / "again")
    assert [path.read_text(encoding="utf-8") for path in again] == [pages["ru"], pages["en"]]


def test_cleaning_drops_what_is_volatile_and_is_idempotent():
    notebook = example()
    once = clean(notebook)
    assert once == clean(once) and notebook.cells[3].execution_count == 41
    written = nbformat.writes(once)
    for litter in ("papermill", "2024", "3.11.2", "widget", "ipykernel", "0x7f12", "41"):
        assert litter not in written
    assert not any(f"{place}/" in written for place in PLACES)
    assert set(once.metadata) == {"kernelspec", "language_info", "jupytext"}
    assert [cell.id for cell in once.cells] == [f"cell-{n}" for n in range(1, 7)]
    code = once.cells[3]
    assert code.source == 'price = "$5"' and "tags" not in code.metadata
    assert code.execution_count == code.outputs[-1].execution_count == 1
    assert once.cells[0].metadata.tags == ["ru"]
    assert "in …/data" in code.outputs[0].text


def test_a_formula_that_cannot_be_set_is_named(sources):
    for latex in (r"\nosuchcommand x", "a & b", "", r"\left"):
        with pytest.raises(ValueError, match="cannot be set"):
            mathml(latex, "inline")
    assert "<script>" not in mathml(r"\text{<script>}", "inline")
    folder = sources[0].parent
    nbformat.write(new_notebook(cells=[new_markdown_cell(r"# $\nosuch$")]), folder / "bad.ipynb")
    with pytest.raises(ValueError, match=r"nosuch"):
        build_pages([folder / "bad.ipynb"], folder / "none")
    assert not (folder / "none").exists()


def test_a_page_needs_a_title(sources):
    nbformat.write(new_notebook(cells=[text("ru", "слова")]), sources[0].parent / "bare.ipynb")
    with pytest.raises(ValueError, match="no heading in ru"):
        build_pages([sources[0].parent / "bare.ipynb"], sources[0].parent / "none")


def test_headline_replaces_what_stands_between_the_marks_and_nothing_else(tmp_path):
    headlines = [
        shown({"text/markdown": f"{lang} 1"}, language=lang, role="headline")
        for lang in ("ru", "en")
    ]
    told = shown({"text/markdown": "no headline"}, language="en", role="text")
    nbformat.write(new_notebook(cells=[new_code_cell(outputs=[*headlines, told])]), tmp_path / "n")
    readme = tmp_path / "README.md"
    readme.write_text("a\n<!-- headline -->\nold\n<!-- /headline -->\nb\n")
    put_headline(tmp_path / "n", readme, "en")
    assert readme.read_text() == "a\n<!-- headline -->\n\nen 1\n\n<!-- /headline -->\nb\n"
    readme.write_text("no marks")
    with pytest.raises(ValueError, match="lacks the lines <!-- headline"):
        put_headline(tmp_path / "n", readme, "en")
    assert readme.read_text() == "no marks"
