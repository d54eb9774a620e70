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
import re
from itertools import chain, count
from pathlib import Path

import nbformat
from jinja2 import Environment, FileSystemLoader
from nbconvert import HTMLExporter
from nbformat import NotebookNode

from icl_core.records import write_whole
from icl_report.markup import Chapter, href
from icl_report.text import LANGUAGES, RUSSIAN

PICTURES = {"image/svg+xml", "image/png"}
ALT = re.compile(r"\s*<!--\s*alt:\s*(.*?)\s*-->", re.S)  # in a caption
PAGE = Path(__file__).parent / "page"  # its templates, style and script


def build(pages: dict[str, list[Path]], folder: Path) -> list[Path]:
    """Writes <page>.<language>.html of each page's notebooks, a chapter a notebook, in their order.

    A page's first heading is its title. Raises ValueError if there is none, if a sentence no longer
    holds, the glossary lacks a word, a formula cannot be set, a figure lacks its caption or alt
    text, a heading its twin or a link its target: nothing is touched.
    """
    sources = {
        page: {path.stem: nbformat.read(path, as_version=4) for path in notebooks}
        for page, notebooks in pages.items()
    }
    _refuse_broken(sources)
    english = _chapters(sources, "en", {})
    twins = {own.name: [h["address"] for h in own.headings] for own in chain(*english.values())}
    written = {}
    for language, chapters in (("ru", _chapters(sources, "ru", twins)), ("en", english)):
        headings = {page: [*chain(*(c.headings for c in own))] for page, own in chapters.items()}
        if bare := [page for page, own in headings.items() if not own]:
            raise ValueError(f"{bare[0]}: no heading in {language} to be the page's title")
        titles = {page: own[0]["words"] for page, own in headings.items()}
        for page, own in chapters.items():
            written[folder / f"{page}.{language}.html"] = _page(page, own, language, titles)
    folder.mkdir(parents=True, exist_ok=True)
    for path, page in written.items():
        write_whole(path, page)
    return list(written)


def _refuse_broken(sources: dict[str, dict[str, NotebookNode]]) -> None:
    """Raises ValueError naming sentences, in English, that no longer hold, and missing words."""
    broken, missing = [], []
    for name, notebook in chain(*(notebooks.items() for notebooks in sources.values())):
        for output in chain(*(cell.get("outputs", []) for cell in notebook.cells)):
            about = output.get("metadata", {})
            missing += [f"{name}: {words!r}" for words in about.get("missing", [])]
            if about == {"language": "en", "role": "broken"}:
                said = output.data["text/markdown"].partition(":** ")[2]
                broken.append(f"{name}: {said[:80]} …")
    told = [("sentences that no longer hold:", broken), ("glossary.yaml lacks:", missing)]
    if faults := [line for title, own in told if own for line in (title, *own)]:
        raise ValueError("\n  ".join(faults))


def _chapters(
    sources: dict[str, dict[str, NotebookNode]], language: str, twins: dict[str, list[str]]
) -> dict[str, list[Chapter]]:
    """Page -> its chapters, rendered by nbconvert; a link may lead to any page's."""
    files = {name: f"{page}.{language}.html" for page, own in sources.items() for name in own}
    pages = {}
    for page, notebooks in sources.items():
        tables, figures, pages[page] = count(1), count(1), []
        for name, notebook in notebooks.items():
            chapter = Chapter(name, language, files, twins.get(name), tables, figures)
            exporter = HTMLExporter(
                template_name=PAGE.name,
                extra_template_basedirs=[str(PAGE.parent)],
                language_code=language,
                filters={"markdown2html": chapter.html, "figure": chapter.figure},
            )
            chapter.body, _ = exporter.from_notebook_node(_in_language(notebook, language))
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


def _in_language(notebook: NotebookNode, language: str) -> NotebookNode:
    """A copy with what is in the language and in none, each figure with its caption.

    A caption is the markdown cell, or the sentence, that follows its figure. Code cells with
    nothing shown between them become one.
    """
    notebook, joined, figure = copy.deepcopy(notebook), [], None
    for cell in notebook.cells:
        tags = set(cell.metadata.get("tags", []))
        if not tags & set(LANGUAGES) <= {language}:
            continue
        if "caption" in tags:
            figure = _caption(figure, cell.source)
            continue
        shown = []
        for output in cell.get("outputs", []):
            about, data = output.get("metadata", {}), output.get("data", {})
            if about.get("language", language) != language or output.get("name") == "stderr":
                continue
            if about.get("role") == "caption":
                figure = _caption(figure, data["text/markdown"])
                continue
            twin = data.pop(RUSSIAN, None)
            if twin is not None and language == "ru":
                data[next(kind for kind in data if not kind.endswith("+json"))] = twin
            figure = output if PICTURES & set(data) else figure
            shown.append(output)
        if cell.cell_type == "code":
            cell.outputs = shown
            if joined and joined[-1].get("outputs") == []:
                cell.source = f"{joined.pop().source}\n\n{cell.source}".strip()
        joined.append(cell)
    notebook.cells = joined
    return notebook


def _caption(figure: NotebookNode | None, text: str) -> None:
    """Gives the figure, if it was drawn, its caption and the alt text, a comment in it."""
    if figure is not None:
        alt = ALT.search(text)
        figure.metadata.update(caption=ALT.sub("", text), alt=alt[1] if alt else "")


def _page(page: str, chapters: list[Chapter], language: str, titles: dict[str, str]) -> str:
    """The page, its style and script in it; its policy names their sums."""
    running = "".join(c if c.isalnum() or c == " " else f"\\{ord(c):x} " for c in titles[page])
    own = {path.name: path.read_text(encoding="utf-8") for path in PAGE.iterdir()}
    style, script = own["style.css"] + own["model.css"], own["script.js"] + own["model.js"]
    style += f'@page {{ @top-center {{ content: "{running}"; }} }}\n'
    inline = {"style": style, "script": script}
    sums = {kind: hashlib.sha256(text.encode()).digest() for kind, text in inline.items()}
    allowed = {kind: f"'sha256-{base64.b64encode(own).decode()}'" for kind, own in sums.items()}
    environment = Environment(loader=FileSystemLoader(PAGE), autoescape=True, trim_blocks=True)
    environment.filters["href"] = href
    about = {"page": page, "chapters": chapters, "language": language, "titles": titles}
    return environment.get_template("page.html.j2").render(about, allowed=allowed, **inline)


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
