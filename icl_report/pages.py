"""Executed bilingual notebooks -> one self-contained page a language.

A cell tagged ru or en, and an output whose metadata names a language, belong to that language's
page; everything else belongs to both. A notebook is a chapter. No request leaves a page, its policy
admits its own style and script alone, and the same notebooks give the same bytes.
"""

import argparse
import base64
import copy
import hashlib
import re
import sys
from itertools import count
from pathlib import Path

import nbformat
from jinja2 import Environment, FileSystemLoader, pass_context
from nbconvert import HTMLExporter
from nbconvert.preprocessors import Preprocessor
from nbformat import NotebookNode
from traitlets import Unicode
from traitlets.config import Config

from icl_core.records import PROJECT, write_whole
from icl_report.markup import Chapter, href, picture

LANGUAGES = ("ru", "en")
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


def build_pages(notebooks: list[Path], folder: Path) -> list[Path]:
    """Writes report.<language>.html for each language, a chapter a notebook, in their order.

    The first heading is the page's title. Raises ValueError if there is none, if a sentence no
    longer holds, a formula cannot be set, a figure lacks alt text, a heading its twin or a link its
    target: no page is touched.
    """
    _refuse_broken(notebooks)
    sources = {path.stem: clean(nbformat.read(path, as_version=4)) for path in notebooks}
    english = _chapters(sources, "en", {})
    addresses = {own.name: [heading["address"] for heading in own.headings] for own in english}
    chapters = {"ru": _chapters(sources, "ru", addresses), "en": english}
    pages = {folder / f"report.{own}.html": _page(chapters[own], own) for own in LANGUAGES}
    folder.mkdir(parents=True, exist_ok=True)
    for path, page in pages.items():
        write_whole(path, page)
    return list(pages)


def write_figures(notebooks: list[Path], folder: Path) -> None:
    """Writes folder/<name>.<language>.svg for each figure among the notebooks' outputs."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in notebooks:
        for output in _outputs(path):
            svg, about = output.get("data", {}).get("image/svg+xml"), output.get("metadata", {})
            if svg and "name" in about:
                write_whole(folder / f"{about['name']}.{about['language']}.svg", svg)


class OneLanguage(Preprocessor):
    """Drops outputs in another language, and captions: a page's figures carry their own.

    Code cells with nothing shown between them become one.
    """

    language = Unicode(help="the page's language").tag(config=True)

    def preprocess(self, nb, resources):
        """Keeps the outputs in the page's language and those in none, and joins code cells."""
        joined = []
        for cell in nb.cells:
            if cell.cell_type == "code":
                cell.outputs = [output for output in cell.outputs if self._stays(output)]
                if joined and joined[-1].cell_type == "code" and not joined[-1].outputs:
                    cell.source = f"{joined.pop().source}\n\n{cell.source}".strip()
            joined.append(cell)
        nb.cells = joined
        return nb, resources

    def _stays(self, output: NotebookNode) -> bool:
        metadata = output.get("metadata", {})
        mine = metadata.get("language", self.language) == self.language
        shown = output.output_type != "stream" or output.name == "stdout"
        return mine and shown and metadata.get("role") != "caption"


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
                f"{self.chapter.name}: a figure has no alt text in {self.chapter.language}; "
                "say it in the output's metadata, as report.figure(…) does"
            )
        number = next(self.chapter.figures)
        return {**output.metadata, "number": number, **picture(output.data[kind], kind)}


def _tags(cell: NotebookNode) -> list[str]:
    return cell.metadata.get("tags", [])


def _outputs(notebook: Path) -> list[NotebookNode]:
    cells = nbformat.read(notebook, as_version=4).cells
    return [output for cell in cells for output in cell.get("outputs", [])]


def _refuse_broken(notebooks: list[Path]) -> None:
    """Raises ValueError, naming them, if there are sentences whose condition does not hold."""
    wanted = {"language": "en", "role": "broken"}
    broken = [
        f"{path.stem}: {output.data['text/markdown'].partition(':** ')[2][:80]} …"
        for path in notebooks
        for output in _outputs(path)
        if output.get("metadata") == wanted
    ]
    if broken:
        raise ValueError("\n  ".join(["sentences that no longer hold:", *broken]))


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
    sources: dict[str, NotebookNode], language: str, addresses: dict[str, list[str]]
) -> list[Chapter]:
    tables, figures, chapters = count(1), count(1), []
    for name, notebook in sources.items():
        chapter = Chapter(name, language, frozenset(sources), addresses.get(name), tables, figures)
        chapter.body, _ = ChapterExporter(chapter).from_notebook_node(notebook)
        chapters.append(chapter)
    known = set(sources) | {own["address"] for chapter in chapters for own in chapter.headings}
    for chapter in chapters:
        if lost := set(chapter.links) - known:
            raise ValueError(
                f"{chapter.name} links to {chapter.links[min(lost)]}, which is no section of the "
                f"report; it has {', '.join(sorted(known))}"
            )
    return chapters


def _page(chapters: list[Chapter], language: str) -> str:
    headings = [heading for chapter in chapters for heading in chapter.headings]
    if not headings:
        raise ValueError(f"the notebooks have no heading in {language} to be the page's title")
    title = headings[0]["words"]
    running = "".join(c if c.isalnum() or c == " " else f"\\{ord(c):x} " for c in title)
    style = _file("style.css") + _file("attention.css")
    style += f'@page {{ @top-center {{ content: "{running}"; }} }}\n'
    script = _file("script.js") + _file("attention.js")
    environment = Environment(loader=FileSystemLoader(PAGE), autoescape=True, trim_blocks=True)
    environment.filters["href"] = href
    return environment.get_template("report.html.j2").render(
        chapters=chapters,
        language=language,
        title=title,
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
    store = commands.add_parser("clean", help="store an executed notebook without what varies")
    store.add_argument("executed", type=Path)
    store.add_argument("stored", type=Path)
    build = commands.add_parser("build", help="write out/report/*.html and out/figures/*.svg")
    build.add_argument("out", type=Path)
    build.add_argument("notebooks", nargs="+", type=Path, help="executed notebooks, in order")
    arguments = parser.parse_args()
    if arguments.command == "clean":
        notebook = nbformat.read(arguments.executed, as_version=4)
        arguments.stored.parent.mkdir(parents=True, exist_ok=True)
        write_whole(arguments.stored, nbformat.writes(clean(notebook)) + "\n")
    else:
        build_pages(arguments.notebooks, arguments.out / "report")
        write_figures(arguments.notebooks, arguments.out / "figures")


if __name__ == "__main__":
    main()
