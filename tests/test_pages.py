"""A page holds one language, asks nobody for anything, and comes out the same every time."""

import base64
import hashlib
import os
import re
from html.parser import HTMLParser
from itertools import count

import jupytext
import jupytext.cli as jupytext_cli
import nbformat
import pytest
from jupytext import TextFileContentsManager
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from icl_core.records import PROJECT
from icl_report.markup import Chapter, mathml
from icl_report.pages import build
from icl_report.stored import PLACES, clean, store
from icl_report.text import RUSSIAN

HOSTILE = "<script>alert('x')</script>\"><b>"
SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="72pt" height="36pt"><title>{}</title></svg>'
VOID = {"meta", "img", "br", "hr", "link", "input"}
PLACE = max(PLACES, key=len)
NOTEBOOKS = sorted((PROJECT / "notebooks").glob("*.py"))


def text(language, source):
    return new_markdown_cell(source, metadata={"tags": [language]})


def shown(data, **metadata):
    return new_output("display_data", data=data, metadata=metadata)


def chapter():
    """One of no page, to set what is given to it."""
    return Chapter("a", "en", {}, None, count(1), count(1))


def example():
    """A notebook as papermill leaves it: two languages, a figure, a table, litter."""
    figure = {"image/svg+xml": SVG.format("falls"), RUSSIAN: SVG.format("падает")}
    table = "| step |\n|--:|\n| 0.5 |"
    twins = {"text/markdown": table, RUSSIAN: table.replace("step", "шаг").replace(".", ",")}
    caption = "*{}* при $k$ {} <!-- alt: {} {} -->"
    captions = [
        shown({"text/markdown": caption.format(*words)}, language=language, role="caption")
        for language, words in [
            ("ru", ("Ошибка", HOSTILE, "кривая падает", HOSTILE)),
            ("en", ("Error", HOSTILE, "the curve falls", HOSTILE)),
        ]
    ]
    outputs = [
        new_output("stream", name="stdout", text=f"printed $1 {HOSTILE} in {PLACE}/data\n"),
        new_output("stream", name="stderr", text="/tmp/ipykernel_77/12.py:1: UserWarning: hm\n"),
        shown(figure, name="curve"),
        *captions,
        shown(twins, role="table"),
        shown({"text/markdown": "Ошибка **0,02** при $k = 63$"}, language="ru"),
        shown({"text/markdown": f"Error **0.02** at $k = 63$ {HOSTILE}"}, language="en"),
        shown({"text/html": "<table></table>"}),
        new_output("execute_result", data={"text/plain": "<Axes at 0x7f12>"}, execution_count=41),
    ]
    code = new_code_cell('price = "$5"', execution_count=41, outputs=outputs)
    code.metadata = {"papermill": {"start_time": "2024"}, "execution": {"x": "2024"}, "tags": []}
    injected = new_code_cell("b = 5", metadata={"tags": ["injected-parameters"]})
    links = "[{}](a.ipynb#A-verdict-on-b) [{}](#Position) [{}](b.ipynb) [{}](c.ipynb#Elsewhere)"
    ru = links.format("вывод", "начало", "вторая", "отсутствует")
    en = links.format("a verdict", "the start", "the second", "absent")
    cells = [
        text("ru", "# Положение\n\nСтрока `$HOME` и $x_i < y_i$.\n\n$$\\text{если } a \\sim b$$"),
        text("en", "# Position\n\nThe line `$HOME` and $x_i < y_i$.\n\n$$\\text{if } a \\sim b$$"),
        injected,
        code,
        new_code_cell("draw()", outputs=[shown(figure, name="again")]),
        new_markdown_cell("Кривая.\n<!-- alt: опять -->", metadata={"tags": ["ru", "caption"]}),
        new_markdown_cell("A curve.\n<!-- alt: again -->", metadata={"tags": ["en", "caption"]}),
        new_code_cell("c = 6"),
        text("ru", f"## Вывод о $b$\n\n{ru}\n\n| имя | $b$ |\n|---|--:|\n| `CM` | 5 |"),
        text("en", f"## A verdict on $b$\n\n{en}\n\n| name | $b$ |\n|---|--:|\n| `CM` | 5 |"),
        text("ru", "## Вывод о $b$\n\nслово\n— дело"),
        text("en", "## A verdict on $b$\n\na word\n— a deed"),
    ]
    metadata = {
        "kernelspec": {"name": "python3", "display_name": "Python 3"},
        "language_info": {"name": "python", "version": "3.11.2"},
        "jupytext": {"formats": "ipynb,py:percent"},
        "papermill": {"output_path": f"{PLACE}/notebook.ipynb"},
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
    paths = build({"report": sources}, sources[0].parent / "report")
    assert [path.name for path in paths] == ["report.ru.html", "report.en.html"]
    assert sorted(paths[0].parent.iterdir()) == sorted(paths)
    return {path.suffixes[0][1:]: path.read_text(encoding="utf-8") for path in paths}


def without(page, *tags):
    """The page's source without these elements."""
    return re.sub(rf"(?s)<({'|'.join(tags)})\b.*?</\1>", "", page)


def test_a_page_keeps_its_language_only(pages):
    pages = {language: without(page, "script") for language, page in pages.items()}
    russian = ["Положение", "Вывод о", "кривая падает", "Ошибка", "шаг", "<strong>0,02</strong>"]
    english = [">Position", "A verdict", "curve falls", "Error", ">step", "<strong>0.02</strong>"]
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
        assert "<!--" not in page and "alt:" not in page


def test_formulas_are_mathml_and_code_keeps_its_dollars(pages):
    for page in pages.values():
        assert Page(page).all("math")
        assert "<code>$HOME</code>" in page and '"$5"' in page.replace("&quot;", '"')
        assert "$" not in without(page, "code", "pre", "script")
    assert "<mtext>если&nbsp;</mtext>" in pages["ru"].replace("\xa0", "&nbsp;")


def test_a_figure_has_an_alternative_a_number_and_a_caption(pages):
    """From the sentence or the cell behind it; an alternative is text, a caption Markdown."""
    for language, words in [
        ("ru", ("кривая падает", "опять")),
        ("en", ("the curve falls", "again")),
    ]:
        pictures = Page(pages[language]).all("img")
        assert [picture["alt"] for picture in pictures] == [f"{words[0]} {HOSTILE}", words[1]] * 2
        assert [(p["width"], p["height"]) for p in pictures] == [("96", "48")] * 4
        assert pages[language].count("<figcaption>") == 4
    assert "<em>Ошибка</em> при <math" in pages["ru"] and "A curve." in pages["en"]
    assert re.findall("Рис. ([0-9]).", pages["ru"]) == ["1", "2", "3", "4"]
    assert re.findall("<span>Figure ([0-9]).</span>", pages["en"]) == ["1", "2", "3", "4"]


def test_a_figure_and_a_table_are_in_the_reader_s_language(pages):
    for language, word, row in [("ru", "падает", "0,5"), ("en", "falls", "0.5")]:
        kind, _, data = Page(pages[language]).all("img")[0]["src"].partition(",")
        assert kind == "data:image/svg+xml;base64"
        assert base64.b64decode(data).decode() == SVG.format(word)
        assert f'<td class="right">{row}</td>' in pages[language]
        assert RUSSIAN not in pages[language]


@pytest.mark.parametrize("kind", ["image/svg+xml", "image/png"])
def test_a_figure_without_an_alternative_is_refused(tmp_path, kind):
    figure = shown({kind: SVG}, name="curve")
    cells = [text("ru", "# А"), text("en", "# A"), new_code_cell("draw()", outputs=[figure])]
    nbformat.write(new_notebook(cells=cells), tmp_path / "a.ipynb")
    told = (
        "a: the figure 'curve' has no alt text: .* cell tagged en and caption that ends in <!-- alt"
    )
    with pytest.raises(ValueError, match=told):
        build({"report": [tmp_path / "a.ipynb"]}, tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_hostile_words_stay_words(pages):
    for page in pages.values():
        assert len(Page(page).all("script")) == 1 and Page(page).all("b") == []
        assert page.count("&lt;script&gt;") >= 4


def test_no_request_leaves_a_page_and_nothing_but_its_own_style_and_script_runs(pages):
    for page in pages.values():
        tags = Page(page).tags
        assert all(attrs.get("src", "data:").startswith("data:") for _, attrs in tags)
        assert not [tag for tag, _ in tags if tag in {"link", "iframe", "object", "base", "form"}]
        assert not [attrs for _, attrs in tags if "style" in attrs or "onclick" in attrs]
        assert "url(" not in page and "@import" not in page
        policy = next(meta["content"] for meta in Page(page).all("meta") if "http-equiv" in meta)
        assert policy.startswith("default-src 'none'") and "unsafe" not in policy
        for kind in ("style", "script"):
            inline = re.search(rf"(?s)<{kind}>(.*?)</{kind}>", page)[1]
            digest = base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()
            assert f"{kind}-src 'sha256-{digest}'" in policy


def test_sections_are_named_after_the_notebook_and_the_english_heading(pages):
    sections = ["Position", "A-verdict-on-b", "A-verdict-on-b-2"]
    for page in pages.values():
        parsed = Page(page)
        ids = [attrs["id"] for _, attrs in parsed.tags if "id" in attrs]
        addresses = [f"{name}/{section}" for name in "ab" for section in sections]
        assert ids == ["contents", "text", "a", *addresses[:3], "b", *addresses[3:]]
        assert {a["href"][1:] for a in parsed.all("a") if a["href"][0] == "#"} == set(ids[1:])


def test_a_link_between_notebooks_leads_into_the_page(pages):
    for page, words in [
        (pages["ru"], ["вывод", "начало", "вторая", "отсутствует"]),
        (pages["en"], ["a verdict", "the start", "the second", "absent"]),
    ]:
        verdict, start, second, absent = words
        for chapter in "ab":
            shown_links = (
                f'<a href="#a/A-verdict-on-b">{verdict}</a> <a href="#{chapter}/Position">{start}'
                f'</a> <a href="#b">{second}</a> {absent}</p>'
            )
            assert shown_links in page


@pytest.mark.parametrize("link", ["a.ipynb#Nowhere", "#Nowhere"])
def test_a_link_to_a_section_that_is_not_there_is_refused(tmp_path, link):
    cells = [text(language, f"# A\n\n[b]({link})") for language in ("ru", "en")]
    nbformat.write(new_notebook(cells=cells), tmp_path / "a.ipynb")
    with pytest.raises(ValueError, match=f"a links to {link}, which is no section .* a, a/A"):
        build({"report": [tmp_path / "a.ipynb"]}, tmp_path / "none")


def test_a_heading_without_a_twin_is_refused(tmp_path):
    cells = [text("ru", "# А"), text("en", "# A"), text("ru", "## Лишний")]
    nbformat.write(new_notebook(cells=cells), tmp_path / "a.ipynb")
    with pytest.raises(ValueError, match="a: the heading 'Лишний' has no twin in English"):
        build({"report": [tmp_path / "a.ipynb"]}, tmp_path / "none")


def broken_links(sources):
    """The links between the notebooks' texts that name no notebook, or none of its sections."""
    broken = []
    for name, source in sources.items():
        for target, section in re.findall(
            r"\]\((?=\w+\.ipynb|#)(?:(\w+)\.ipynb)?#?(.*?)\)", source
        ):
            headings = re.findall(r"^# #+ (.*)$", sources.get(target or name, ""), re.M)
            addresses = ["-".join(heading.split()) for heading in headings]
            if section not in addresses if section else not addresses:
                broken.append((target, section))
    return broken


def test_links_of_the_notebooks_name_notebooks_and_their_sections():
    """A report without a notebook drops links to it; what is linked must still be there."""
    a = "# # A b\n# [1](b.ipynb) [2](b.ipynb#Far-off) [3](#A-b) [4](c.ipynb) [](b.ipynb#A-b) [](#B)"
    assert broken_links({"a": a, "b": "# ## Far off"}) == [("c", ""), ("b", "A-b"), ("", "B")]
    assert broken_links({path.stem: path.read_text(encoding="utf-8") for path in NOTEBOOKS}) == []


def test_code_with_nothing_shown_between_is_one_listing(pages):
    for page in pages.values():
        listings = re.findall(r'(?s)<div class="code">(.*?)</pre>', page)
        words = [" ".join(re.sub("<[^>]*>", "", listing).split()) for listing in listings]
        assert words[:3] == ['b = 5 price = "$5"', "draw()", "c = 6"]


def test_a_table_scrolls_in_a_box_that_a_keyboard_reaches(pages):
    for page, word in [(pages["ru"], "Таблица"), (pages["en"], "Table")]:
        boxes = [box for box in Page(page).all("div") if box.get("class") == "table"]
        labels = [box["aria-label"] for box in boxes if "aria-label" in box]
        assert labels == [f"{word} {number}" for number in range(1, 5)]
        assert '<td class="right">5</td>' in page and '<th class="left" scope="col">' in page


def test_no_line_begins_with_a_dash(pages):
    assert "слово\u00a0— дело" in pages["ru"] and "a word\u00a0— a deed" in pages["en"]


def test_a_variant_s_name_and_a_formula_s_punctuation_stay_together():
    said = chapter().html("LPE +\nCM ($b = 1$).")
    assert "LPE\u00a0+\u00a0CM" in said
    assert "(\u2060<math" in said and "</math>\u2060)" in said


def test_a_figure_on_a_page_keeps_a_hundredth_of_a_point_and_its_scales():
    path = '<path d="M 1.234567 -8.765432 &#10; L 3 4"/><g transform="translate(6.54321 0)">'
    drawn = f'{SVG.format("")[:-6]}{path}<g transform="scale(0.015625)"/></g></svg>'
    output = shown({"image/svg+xml": drawn}, alt="a line")
    source = chapter().figure(output, "image/svg+xml")["src"].partition("base64,")[2]
    kept = base64.b64decode(source).decode()
    assert '"M 1.23 -8.76 ' in kept and "translate(6.54 0)" in kept and "scale(0.015625)" in kept


def test_the_same_notebooks_give_the_same_bytes(sources, pages):
    again = build({"report": sources}, sources[0].parent / "again")
    assert [path.read_text(encoding="utf-8") for path in again] == [pages["ru"], pages["en"]]


def test_cleaning_drops_what_is_volatile_and_is_idempotent():
    notebook = example()
    once = clean(notebook)
    assert once == clean(once) and "papermill" in notebook.metadata
    written = nbformat.writes(once)
    for litter in ("papermill", "2024", "3.11.2", "ipykernel_", "0x7f12"):
        assert litter not in written
    assert not any(f"{place}/" in written for place in PLACES)
    assert set(once.metadata) == {"kernelspec", "jupytext"}
    assert [cell.id for cell in once.cells] == [f"cell-{n}" for n in range(1, 13)]
    assert once.cells[3].source == 'price = "$5"' and once.cells[0].metadata.tags == ["ru"]
    assert "in …/data" in once.cells[3].outputs[0].text


def test_a_formula_that_cannot_be_set_is_named(sources):
    for latex in (r"\nosuchcommand x", "a & b", "", r"\left"):
        with pytest.raises(ValueError, match="cannot be set"):
            mathml(latex, "inline")
    assert "<script>" not in mathml(r"\text{<script>}", "inline")
    assert "<mn>0</mn><mtext>,</mtext><mn>02</mn>" in mathml("0{,}02", "inline")  # no space in it
    folder = sources[0].parent
    nbformat.write(new_notebook(cells=[new_markdown_cell(r"# $\nosuch$")]), folder / "bad.ipynb")
    with pytest.raises(ValueError, match=r"nosuch"):
        build({"report": [folder / "bad.ipynb"]}, folder / "none")
    assert not (folder / "none").exists()


def test_a_page_needs_a_title(sources):
    nbformat.write(new_notebook(cells=[text("ru", "слова")]), sources[0].parent / "bare.ipynb")
    with pytest.raises(ValueError, match="no heading in ru"):
        build({"report": [sources[0].parent / "bare.ipynb"]}, sources[0].parent / "none")


def test_a_sentence_that_no_longer_holds_is_refused_by_name(tmp_path):
    """Every one of them, with its notebook; a box that somebody wrote is not one."""
    box = "> **This sentence no longer holds:** the mask helps, at every b"
    outputs = [
        shown({"text/markdown": "> **Это…:** маска помогает"}, language="ru", role="broken"),
        shown({"text/markdown": box}, language="en", role="broken"),
        shown({"text/markdown": box.replace("mask", "author")}, language="en", role="text"),
    ]
    cells = [text("ru", "# А"), text("en", "# A"), new_code_cell("say()", outputs=outputs)]
    nbformat.write(new_notebook(cells=cells), tmp_path / "a.ipynb")
    with pytest.raises(ValueError, match=r"no longer hold:\n  a: the mask helps, at every b …$"):
        build({"report": [tmp_path / "a.ipynb"]}, tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_what_the_glossary_lacks_is_refused_by_name(tmp_path):
    figure = shown({"image/svg+xml": SVG}, name="curve", missing=["epoch", "deep"])
    cells = [text("ru", "# А"), text("en", "# A"), new_code_cell("draw()", outputs=[figure])]
    nbformat.write(new_notebook(cells=cells), tmp_path / "a.ipynb")
    with pytest.raises(ValueError, match=r"^glossary.yaml lacks:\n  a: 'epoch'\n  a: 'deep'$"):
        build({"report": [tmp_path / "a.ipynb"]}, tmp_path / "none")


def test_a_caption_goes_with_its_figure(tmp_path):
    """Where a run has no data for the figure, its caption is not shown either."""
    captions = [
        new_markdown_cell(f"{words} <!-- alt: {words} -->", metadata={"tags": [own, "caption"]})
        for words, own in (("Кривая", "ru"), ("A curve", "en"))
    ]
    cells = [text("ru", "# А"), text("en", "# A"), new_code_cell("if data: draw()"), *captions]
    nbformat.write(new_notebook(cells=cells), tmp_path / "a.ipynb")
    for path in build({"report": [tmp_path / "a.ipynb"]}, tmp_path / "pages"):
        assert not re.search("Кривая|A curve", path.read_text(encoding="utf-8"))


def test_two_pages_know_each_other(sources, tmp_path):
    """Each has its own numbers; links lead across; each names the other."""
    a, b = sources
    paths = build({"report": [a], "appendix": [b]}, tmp_path)
    names = [
        f"{page}.{language}.html" for language in ("ru", "en") for page in ("report", "appendix")
    ]
    assert [path.name for path in paths] == names
    report, appendix = (path.read_text(encoding="utf-8") for path in paths[2:])
    assert 'href="appendix.en.html#b">the second</a>' in report
    assert 'href="report.en.html#a/A-verdict-on-b">a verdict</a>' in appendix
    assert 'href="appendix.en.html">Appendix</a>' in report
    assert 'href="report.en.html">Report</a>' in appendix
    assert re.findall("<span>Figure ([0-9]).</span>", appendix) == ["1", "2"]


SOURCE = """# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
# ---

# %%
1 + 1
"""


@pytest.fixture
def stored(tmp_path):
    """A notebook's two files, as the build leaves them, and the executed one that it came from."""
    source, executed = tmp_path / "notebooks" / "a.py", tmp_path / "executed.ipynb"
    source.parent.mkdir()
    source.write_text(SOURCE, encoding="utf-8")
    notebook = jupytext.read(source)
    svg = shown({"image/svg+xml": SVG.format("falls"), RUSSIAN: SVG.format("падает")}, name="c")
    notebook.cells[0].outputs = [new_output("execute_result", {"text/plain": "2"}), svg]
    nbformat.write(notebook, executed)
    store(executed, source.with_suffix(".ipynb"), tmp_path / "figures")
    return source, source.with_suffix(".ipynb"), executed


def sync(path):
    """jupytext --sync PATH"""
    assert jupytext_cli.jupytext(["--sync", "--quiet", str(path)]) in (0, None)


def edit(path):
    """By hand, some seconds after the build."""
    path.write_text(path.read_text(encoding="utf-8").replace("1 + 1", "1 + 2"), encoding="utf-8")
    later = path.stat().st_mtime + 10
    os.utime(path, (later, later))


def test_a_stored_notebook_s_figures_are_files(stored):
    folder = stored[2].parent / "figures"
    written = {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()}
    assert written == {"c.en.svg": SVG.format("falls"), "c.ru.svg": SVG.format("падает")}


def test_jupytext_syncs_a_notebook_from_either_file(stored):
    source, notebook, _ = stored
    assert notebook.stat().st_mtime <= source.stat().st_mtime, "or JupyterLab refuses the .py"
    edit(source)
    sync(notebook)
    assert "1 + 2" in notebook.read_text(encoding="utf-8")


def test_jupyterlab_opens_the_py_with_its_outputs(stored):
    """JupyterLab asks jupytext, which refuses a .py that is older than its .ipynb."""
    source, _, _ = stored
    contents = TextFileContentsManager(root_dir=str(source.parent))
    (cell,) = contents.get(source.name, type="notebook")["content"].cells
    assert cell.outputs[0].data == {"text/plain": "2"}


def test_jupytext_brings_an_edit_of_the_ipynb_into_the_py(stored):
    source, notebook, _ = stored
    edit(notebook)
    sync(source)
    assert "1 + 2" in source.read_text(encoding="utf-8")


def test_a_notebook_edited_by_hand_is_not_overwritten(stored):
    source, notebook, executed = stored
    edit(notebook)
    told = r"a.ipynb was edited .* .venv/bin/jupytext --sync \S+a.ipynb; .* rm \S+a.ipynb; make"
    with pytest.raises(ValueError, match=told):
        store(executed, notebook, executed.parent / "figures")
    assert "1 + 2" in notebook.read_text(encoding="utf-8")
    sync(notebook)
    store(executed, notebook, executed.parent / "figures")  # the .py has the edit now
    edit(source)
    store(
        executed, notebook, executed.parent / "figures"
    )  # and what a .py's edit left behind is renewed without a word
    assert "1 + 1" in notebook.read_text(encoding="utf-8")
