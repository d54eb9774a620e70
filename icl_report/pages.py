"""Executed bilingual notebooks -> self-contained pages, one a language: the story, the appendix.

A cell tagged ru or en, and an output whose metadata names a language, belong to that language's
page; everything else belongs to both, a table or figure with its Russian twin on the Russian one. A
notebook is a chapter. No request leaves a page, its policy admits its own style and script alone,
and the same notebooks give the same bytes.
"""

import argparse
import base64
import copy
import hashlib
import os
import re
import sys
from itertools import chain, count
from pathlib import Path

import jupytext
import nbformat
from jinja2 import Environment, FileSystemLoader, pass_context
from nbconvert import HTMLExporter
from nbconvert.preprocessors import Preprocessor
from nbformat import NotebookNode
from traitlets import Unicode
from traitlets.config import Config

from icl_core.records import PROJECT, write_whole
from icl_report.markup import Chapter, href, picture
from icl_report.text import LANGUAGES, RUSSIAN

PICTURES = ("image/svg+xml", "image/png")
ALT = re.compile(r"\s*<!--\s*alt:\s*(.*?)\s*-->", re.S)  # in a caption
PAGE = Path(__file__).parent / "page"  # its templates, style and script
LASTING = ("jupytext", "kernelspec", "language_info")  # of a notebook's metadata
VOLATILE = {"papermill", "execution", "ExecuteTime", "collapsed", "scrolled"}  # of a cell's
WIDGET = "application/vnd.jupyter.widget-view+json"
PLACES = {sys.prefix, str(PROJECT), str(Path.home())} - {"/"}
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


def store(executed: Path, stored: Path) -> None:
    """Writes the executed notebook, cleaned, beside its .py, as old as that is.

    JupyterLab refuses a .py whose .ipynb is newer. Raises ValueError, and leaves the file, if the
    stored notebook was edited by hand and its .py does not have the edit.
    """
    source = stored.with_suffix(".py")
    if stored.exists() and source.exists():
        there = nbformat.read(stored, as_version=4)
        if _text(there) not in (there.metadata.get("text"), _text(jupytext.read(source))):
            raise ValueError(
                f"{stored} was edited since it was built, and {source.name} was not: to keep the "
                f"edit, jupytext --sync {stored}; to drop it, remove {stored.name}. Then again"
            )
    notebook = clean(nbformat.read(executed, as_version=4))
    notebook.metadata["text"] = _text(notebook)
    stored.parent.mkdir(parents=True, exist_ok=True)
    write_whole(stored, nbformat.writes(notebook) + "\n")
    if source.exists():
        time = source.stat().st_mtime_ns
        os.utime(stored, ns=(time, time))


def _text(notebook: NotebookNode) -> str:
    """The SHA-256 of what a person wrote in the notebook: its cells, without papermill's."""
    cells = [c for c in notebook.cells if "injected-parameters" not in _tags(c)]
    text = repr([(cell.cell_type, cell.source, _tags(cell)) for cell in cells])
    return hashlib.sha256(text.encode()).hexdigest()


def build(pages: dict[str, list[Path]], folder: Path) -> list[Path]:
    """Writes <page>.<language>.html of each page's notebooks, a chapter a notebook, in their order.

    A page's first heading is its title. Raises ValueError if there is none, if a sentence no longer
    holds, the glossary lacks a word, a formula cannot be set, a figure lacks its caption or alt
    text, a heading its twin or a link its target: nothing is touched.
    """
    _refuse_broken([path for notebooks in pages.values() for path in notebooks])
    sources = {
        page: {path.stem: clean(nbformat.read(path, as_version=4)) for path in notebooks}
        for page, notebooks in pages.items()
    }
    english = _chapters(sources, "en", {})
    twins = {own.name: [h["address"] for h in own.headings] for own in chain(*english.values())}
    written = {}
    for language, chapters in (("ru", _chapters(sources, "ru", twins)), ("en", english)):
        titles = {page: _title(page, own, language) for page, own in chapters.items()}
        for page, own in chapters.items():
            written[folder / f"{page}.{language}.html"] = _page(page, own, language, titles)
    folder.mkdir(parents=True, exist_ok=True)
    for path, page in written.items():
        write_whole(path, page)
    return list(written)


def write_figures(notebooks: list[Path], folder: Path) -> None:
    """Writes folder/<name>.<language>.svg for each figure among the notebooks' outputs."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in notebooks:
        for output in _outputs(path):
            if name := output.get("metadata", {}).get("name"):
                for language, kind in (("ru", RUSSIAN), ("en", "image/svg+xml")):
                    write_whole(folder / f"{name}.{language}.svg", output.data[kind])


class OneLanguage(Preprocessor):
    """Keeps what is in the page's language and in none, and gives each figure its caption.

    Code cells with nothing shown between them become one.
    """

    language = Unicode(help="the page's language").tag(config=True)

    def preprocess(self, nb, resources):
        """A caption is the markdown cell, or the sentence, that follows its figure."""
        joined, figure = [], None
        for cell in nb.cells:
            if "caption" in _tags(cell):
                _caption(figure, cell.source)
                figure = None
                continue
            shown = []
            for output in filter(self._stays, cell.get("outputs", [])):
                if output.get("metadata", {}).get("role") == "caption":
                    _caption(figure, output.data["text/markdown"])
                    figure = None
                else:
                    shown.append(self._own(output))
                    figure = output if set(PICTURES) & set(output.get("data", {})) else figure
            if cell.cell_type == "code":
                cell.outputs = shown
                if joined and joined[-1].cell_type == "code" and not joined[-1].outputs:
                    cell.source = f"{joined.pop().source}\n\n{cell.source}".strip()
            joined.append(cell)
        nb.cells = joined
        return nb, resources

    def _stays(self, output: NotebookNode) -> bool:
        mine = output.get("metadata", {}).get("language", self.language) == self.language
        return mine and (output.output_type != "stream" or output.name == "stdout")

    def _own(self, output: NotebookNode) -> NotebookNode:
        """The output with its Russian twin in the English one's place on a Russian page."""
        twin = output.get("data", {}).pop(RUSSIAN, None)
        if twin is not None and self.language == "ru":
            output.data[next(kind for kind in output.data if not kind.endswith("+json"))] = twin
        return output


def _caption(figure: NotebookNode | None, text: str) -> None:
    """Gives the figure its caption, and the alt text that stands in it as a comment."""
    if figure is None:
        raise ValueError(f"a caption follows no figure: {text[:80]} …")
    alt = ALT.search(text)
    figure.metadata.update(caption=ALT.sub("", text), alt=alt[1] if alt else "")


class ChapterExporter(HTMLExporter):
    """nbconvert's exporter with the chapter's template beside this file."""

    def __init__(self, chapter: Chapter):
        others = set(LANGUAGES) - {chapter.language}
        super().__init__(
            config=Config({"TagRemovePreprocessor": {"remove_cell_tags": others}}),
            template_name=PAGE.name,
            extra_template_basedirs=[str(PAGE.parent)],
            language_code=chapter.language,
        )
        self.chapter = chapter
        self.register_preprocessor(OneLanguage(language=chapter.language), enabled=True)
        self.register_filter("figure", self.figure)

    @pass_context
    def markdown2html(self, context, source: str, escape: bool = False) -> str:
        """The template's filter for Markdown; escape where the text is not the author's own."""
        return self.chapter.html(source, escape)

    def figure(self, output: NotebookNode, kind: str) -> dict[str, str | int]:
        """The template's filter for a figure: its picture, number, alt text and caption."""
        if not output.metadata.get("alt"):
            raise ValueError(
                f"{self.chapter.name}: the figure {output.metadata.get('name')!r} has no alt text "
                f"in {self.chapter.language}; end its caption with <!-- alt: … -->"
            )
        number = next(self.chapter.figures)
        return {**output.metadata, "number": number, **picture(output.data[kind], kind)}


def _tags(cell: NotebookNode) -> list[str]:
    return cell.metadata.get("tags", [])


def _outputs(notebook: Path) -> list[NotebookNode]:
    cells = nbformat.read(notebook, as_version=4).cells
    return [output for cell in cells for output in cell.get("outputs", [])]


def _refuse_broken(notebooks: list[Path]) -> None:
    """Raises ValueError, naming them, for sentences that no longer hold and words without Russian.

    A sentence is named in English, once.
    """
    broken, missing = [], []
    for path in notebooks:
        for output in _outputs(path):
            about = output.get("metadata", {})
            missing += [f"{path.stem}: {words!r}" for words in about.get("missing", [])]
            if about == {"language": "en", "role": "broken"}:
                said = output.data["text/markdown"].partition(":** ")[2]
                broken.append(f"{path.stem}: {said[:80]} …")
    told = [("sentences that no longer hold:", broken), ("glossary.yaml lacks:", missing)]
    if faults := [line for title, own in told if own for line in (title, *own)]:
        raise ValueError("\n  ".join(faults))


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


def _chapters(
    sources: dict[str, dict[str, NotebookNode]], language: str, twins: dict[str, list[str]]
) -> dict[str, list[Chapter]]:
    """Page -> its chapters, rendered; a link may lead to any page's."""
    files = {
        name: f"{page}.{language}.html" for page, notebooks in sources.items() for name in notebooks
    }
    pages = {}
    for page, notebooks in sources.items():
        tables, figures, pages[page] = count(1), count(1), []
        for name, notebook in notebooks.items():
            chapter = Chapter(name, language, files, twins.get(name), tables, figures)
            chapter.body, _ = ChapterExporter(chapter).from_notebook_node(notebook)
            pages[page].append(chapter)
    chapters = list(chain(*pages.values()))
    known = set(files) | {own["address"] for chapter in chapters for own in chapter.headings}
    for chapter in chapters:
        if lost := set(chapter.links) - known:
            raise ValueError(
                f"{chapter.name} links to {chapter.links[min(lost)]}, which is no section of the "
                f"report; it has {', '.join(sorted(known))}"
            )
    return pages


def _title(page: str, chapters: list[Chapter], language: str) -> str:
    headings = [heading for chapter in chapters for heading in chapter.headings]
    if not headings:
        raise ValueError(f"{page}: the notebooks have no heading in {language} to be its title")
    return headings[0]["words"]


def _page(page: str, chapters: list[Chapter], language: str, titles: dict[str, str]) -> str:
    running = "".join(c if c.isalnum() or c == " " else f"\\{ord(c):x} " for c in titles[page])
    style = _file("style.css") + _file("model.css")
    style += f'@page {{ @top-center {{ content: "{running}"; }} }}\n'
    script = _file("script.js") + _file("model.js")
    environment = Environment(loader=FileSystemLoader(PAGE), autoescape=True, trim_blocks=True)
    environment.filters["href"] = href
    return environment.get_template("page.html.j2").render(
        page=page,
        chapters=chapters,
        language=language,
        titles=titles,
        style=style,
        script=script,
        allowed={"style": _allowed(style), "script": _allowed(script)},
    )


def _file(name: str) -> str:
    return (PAGE / name).read_text(encoding="utf-8")


def _allowed(text: str) -> str:
    """The text's hash as a content security policy wants it."""
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def main() -> None:
    """Stores executed notebooks cleaned, and builds pages from stored ones."""
    parser = argparse.ArgumentParser(prog="python -m icl_report.pages", description=main.__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    storing = commands.add_parser("store", help="store an executed notebook without what varies")
    storing.add_argument("executed", type=Path)
    storing.add_argument("stored", type=Path)
    made = commands.add_parser("build", help="write out/report/*.html and out/figures/*.svg")
    made.add_argument("out", type=Path)
    made.add_argument("pages", nargs="+", help="page=notebook: executed notebooks, in order")
    arguments = parser.parse_args()
    if arguments.command == "store":
        store(arguments.executed, arguments.stored)
    else:
        pages: dict[str, list[Path]] = {}
        for page, _, path in (own.partition("=") for own in arguments.pages):
            pages.setdefault(page, []).append(Path(path))
        build(pages, arguments.out / "report")
        write_figures([*chain(*pages.values())], arguments.out / "figures")


if __name__ == "__main__":
    main()
