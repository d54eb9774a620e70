"""Executed bilingual notebooks -> one self-contained page a language.

A cell tagged ru or en, and an output whose metadata names a language, belong to that language's
page; everything else belongs to both. Formulas become MathML and figures data URLs: no request
leaves a page, and the same notebooks give the same bytes.
"""

import argparse
import base64
import copy
import hashlib
import re
import sys
from html import unescape
from pathlib import Path
from xml.etree import ElementTree

import nbformat
from jinja2 import pass_context
from latex2mathml.converter import convert_to_element
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbconvert.preprocessors import Preprocessor
from nbformat import NotebookNode
from traitlets import Unicode
from traitlets.config import Config

LANGUAGES = ("ru", "en")
LASTING = ("jupytext", "kernelspec", "language_info")  # of a notebook's metadata
VOLATILE = {"papermill", "execution", "ExecuteTime", "collapsed", "scrolled"}  # of a cell's
WIDGET = "application/vnd.jupyter.widget-view+json"
PLACES = {sys.prefix, str(Path(__file__).resolve().parents[1]), str(Path.home())} - {"/"}
PLACE = "|".join(re.escape(place) for place in sorted(PLACES, key=len, reverse=True))
VOLATILE_TEXT = {
    r"[^\s\"'<>]*/ipykernel_\d+/\d+\.py": "cell",  # a warning's place: the kernel's process number
    rf"(?<![\w.])(?:{PLACE})(?![\w.-])": "…",  # a path on this machine
    r" at 0x[0-9a-f]+": "",  # an object's address
}


def clean(notebook: NotebookNode) -> NotebookNode:
    """A copy with nothing in it that differs from machine to machine or from run to run.

    Tags, outputs and the jupytext and kernelspec metadata stay. Raises nbformat's ValidationError.
    """
    notebook = copy.deepcopy(notebook)
    lasting = {key: notebook.metadata[key] for key in LASTING if key in notebook.metadata}
    lasting.get("language_info", {}).pop("version", None)
    notebook.metadata = nbformat.from_dict(lasting)
    notebook.nbformat_minor = max(5, notebook.nbformat_minor)  # the first with cell ids
    executed = 0
    for number, cell in enumerate(notebook.cells, start=1):
        cell.id = f"cell-{number}"
        for key in VOLATILE & set(cell.metadata):
            del cell.metadata[key]
        if not _tags(cell):
            cell.metadata.pop("tags", None)
        if cell.cell_type == "code":
            executed += cell.execution_count is not None
            _clean_outputs(cell, executed)
    nbformat.validate(notebook)
    return notebook


def build_pages(notebooks: list[Path], folder: Path) -> list[Path]:
    """Writes report.<language>.html for each language, the notebooks one after another.

    The first heading is the page's title. Raises ValueError if there is none, or if a formula
    cannot be set; then no page is touched.
    """
    chapters = [nbformat.read(path, as_version=4) for path in notebooks]
    cells = [cell for chapter in chapters for cell in chapter.cells]
    report = clean(nbformat.v4.new_notebook(cells=cells, metadata=chapters[0].metadata))
    pages = {folder / f"report.{language}.html": _page(report, language) for language in LANGUAGES}
    folder.mkdir(parents=True, exist_ok=True)
    for path, page in pages.items():
        unfinished = path.with_suffix(".part")
        unfinished.write_text(page, encoding="utf-8")
        unfinished.replace(path)
    return list(pages)


def put_headline(notebook: Path, readme: Path, language: str) -> None:
    """Replaces what stands between README's headline marks by the notebook's headline outputs.

    Raises ValueError if the marks are not there.
    """
    wanted = {"language": language, "role": "headline"}
    headlines = [o.data["text/markdown"] for o in _outputs(notebook) if o.get("metadata") == wanted]
    before, mark_1, rest = readme.read_text(encoding="utf-8").partition("<!-- headline -->\n")
    _, mark_2, after = rest.partition("<!-- /headline -->\n")
    if not mark_2:
        raise ValueError(f"{readme} lacks the lines <!-- headline --> and <!-- /headline -->")
    text = "\n\n".join(headlines)
    readme.write_text(f"{before}{mark_1}\n{text}\n\n{mark_2}{after}", encoding="utf-8")


def write_figures(notebooks: list[Path], folder: Path) -> None:
    """Writes folder/<name>.<language>.svg for each figure among the notebooks' outputs."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in notebooks:
        for output in _outputs(path):
            svg, about = output.get("data", {}).get("image/svg+xml"), output.get("metadata", {})
            if svg and "name" in about:
                target = folder / f"{about['name']}.{about['language']}.svg"
                target.write_text(svg, encoding="utf-8")


class OneLanguage(Preprocessor):
    """Drops outputs in another language, and captions: a page's figures carry their own."""

    language = Unicode(help="the page's language").tag(config=True)

    def preprocess_cell(self, cell, resources, index):
        """Keeps the outputs in the page's language and those in none."""
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if self._stays(output)]
        return cell, resources

    def _stays(self, output: NotebookNode) -> bool:
        metadata = output.get("metadata", {})
        mine = metadata.get("language", self.language) == self.language
        return mine and metadata.get("role") != "caption"


class PageRenderer(IPythonRenderer):
    """Markdown with MathML, numbered headings (kept in a list) and tables that scroll."""

    def __init__(self, headings: list[dict], escape: bool):
        super().__init__(escape=escape, allow_harmful_protocols=False)
        self.headings = headings

    def heading(self, text: str, level: int, **attrs) -> str:
        """Numbered, not named, so that a section has the same address in both languages."""
        name = f"section-{len(self.headings) + 1}"
        label = re.sub(r"</?a\b[^>]*>", "", text)  # the contents make a link of it
        self.headings.append({"id": name, "level": level, "label": label})
        return f'<h{level} id="{name}">{text}</h{level}>\n'

    def table(self, text: str) -> str:
        """A table of words, in a box of its own."""
        return f'<div class="table"><table class="words">{text}</table></div>\n'

    def inline_math(self, body: str) -> str:
        """$…$"""
        return mathml(body, "inline")

    def block_math(self, body: str) -> str:
        """$$…$$"""
        return f'<span class="formula">{mathml(body, "block")}</span>'


class PageExporter(HTMLExporter):
    """nbconvert's exporter with the template beside this file."""

    def __init__(self, language: str):
        others = set(LANGUAGES) - {language}
        super().__init__(
            config=Config({"TagRemovePreprocessor": {"remove_cell_tags": others}}),
            template_name="page",
            extra_template_basedirs=[str(Path(__file__).parent)],
            language_code=language,
        )
        self.register_preprocessor(OneLanguage(language=language), enabled=True)
        self.register_filter("sha256", sha256)

    @pass_context
    def markdown2html(self, context, source: str, escape: bool = False) -> str:
        """The template's filter for markdown; escape where the text is not the author's own."""
        renderer = PageRenderer(context["resources"]["headings"], escape)
        return MarkdownWithMath(renderer).render(source)


def sha256(script: str) -> str:
    """The script's hash as a Content-Security-Policy names it."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")


def mathml(latex: str, display: str) -> str:
    """The formula as MathML; raises ValueError, naming it, if it cannot be set."""
    try:
        formula = convert_to_element(latex, display=display)
    except Exception as error:  # the library's exceptions have no common class
        raise ValueError(f"the formula {latex!r} cannot be set: {error!r}") from error
    for element in formula.iter():
        # The library's own serialiser leaves < and & of a \text bare.
        element.text = unescape(element.text or "")
        if element.text == "~":  # \sim, which it takes for an identifier
            element.tag, element.text = "mo", "∼"
        if element.text == "&" or element.text.startswith("\\"):
            raise ValueError(f"the formula {latex!r} cannot be set: {element.text} is not known")
    return ElementTree.tostring(formula, encoding="unicode", short_empty_elements=False)


def _tags(cell: NotebookNode) -> list[str]:
    return cell.metadata.get("tags", [])


def _outputs(notebook: Path) -> list[NotebookNode]:
    cells = nbformat.read(notebook, as_version=4).cells
    return [output for cell in cells for output in cell.get("outputs", [])]


def _clean_outputs(cell: NotebookNode, executed: int) -> None:
    if cell.execution_count is not None:
        cell.execution_count = executed
    cell.outputs = [output for output in cell.outputs if WIDGET not in output.get("data", {})]
    for output in cell.outputs:
        if "execution_count" in output:
            output.execution_count = cell.execution_count
        for texts in (output, output.get("data", {})):
            for key in [key for key in texts if key.startswith(("text", "traceback", "evalue"))]:
                texts[key] = _clean_text(texts[key])


def _clean_text(text: str | list[str]) -> str | list[str]:
    if isinstance(text, list):
        return [_clean_text(line) for line in text]
    for pattern, replacement in VOLATILE_TEXT.items():
        text = re.sub(pattern, replacement, text)
    return text


def _page(report: NotebookNode, language: str) -> str:
    page, resources = PageExporter(language).from_notebook_node(report, {"headings": []})
    if not resources["headings"]:
        raise ValueError(f"the notebooks have no heading in {language} to be the page's title")
    return page


def main() -> None:
    """Stores executed notebooks cleaned, builds pages from stored ones, puts README's headline."""
    parser = argparse.ArgumentParser(prog="python -m icl_core.pages", description=main.__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    store = commands.add_parser("clean", help="store an executed notebook without what varies")
    store.add_argument("executed", type=Path)
    store.add_argument("stored", type=Path)
    build = commands.add_parser("build", help="write out/report/*.html and out/figures/*.svg")
    build.add_argument("out", type=Path)
    build.add_argument("notebooks", nargs="+", type=Path, help="executed notebooks, in order")
    headline = commands.add_parser("headline", help="put the headline into README")
    headline.add_argument("notebook", type=Path)
    headline.add_argument("readme", type=Path)
    headline.add_argument("language", choices=LANGUAGES)
    arguments = parser.parse_args()
    if arguments.command == "clean":
        notebook = nbformat.read(arguments.executed, as_version=4)
        arguments.stored.parent.mkdir(parents=True, exist_ok=True)
        unfinished = arguments.stored.with_suffix(".part")
        nbformat.write(clean(notebook), unfinished)
        unfinished.replace(arguments.stored)
    elif arguments.command == "build":
        build_pages(arguments.notebooks, arguments.out / "report")
        write_figures(arguments.notebooks, arguments.out / "figures")
    else:
        put_headline(arguments.notebook, arguments.readme, arguments.language)


if __name__ == "__main__":
    main()
