"""Executed bilingual notebooks -> self-contained pages, one a language: the story, the appendix.

A cell tagged ru or en, and an output whose metadata names a language, belong to that language's
page; everything else belongs to both, a table or figure with its Russian twin on the Russian one. A
notebook is a chapter. No request leaves a page, its policy admits its own style and script alone,
and the same notebooks give the same bytes.
"""

import argparse
import base64
import hashlib
import re
from itertools import chain, count
from pathlib import Path

import nbformat
from jinja2 import Environment, FileSystemLoader, pass_context
from nbconvert import HTMLExporter
from nbconvert.preprocessors import Preprocessor
from nbformat import NotebookNode
from traitlets import Unicode
from traitlets.config import Config

from icl_core.records import write_whole
from icl_report.markup import Chapter, href, picture
from icl_report.text import LANGUAGES, RUSSIAN

PICTURES = ("image/svg+xml", "image/png")
ALT = re.compile(r"\s*<!--\s*alt:\s*(.*?)\s*-->", re.S)  # in a caption
PAGE = Path(__file__).parent / "page"  # its templates, style and script


def build(pages: dict[str, list[Path]], folder: Path) -> list[Path]:
    """Writes <page>.<language>.html of each page's notebooks, a chapter a notebook, in their order.

    A page's first heading is its title. Raises ValueError if there is none, if a sentence no longer
    holds, the glossary lacks a word, a formula cannot be set, a figure lacks its caption or alt
    text, a heading its twin or a link its target: nothing is touched.
    """
    _refuse_broken([path for notebooks in pages.values() for path in notebooks])
    sources = {
        page: {path.stem: nbformat.read(path, as_version=4) for path in notebooks}
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
    """Builds the pages, in both languages, from stored notebooks."""
    parser = argparse.ArgumentParser(prog="python -m icl_report.pages", description=main.__doc__)
    parser.add_argument("folder", type=Path, help="where they are written")
    parser.add_argument("notebooks", nargs="+", help="page=notebook, in order")
    given = parser.parse_args()
    pages = {}
    for page, _, path in (own.partition("=") for own in given.notebooks):
        pages.setdefault(page, []).append(Path(path))
    build(pages, given.folder)


if __name__ == "__main__":
    main()
