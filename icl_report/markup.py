"""A chapter's Markdown and figures -> HTML that stands without the network.

Formulas become MathML and figures data URLs. A section is named after its English heading, as
JupyterLab names it, in both languages: `3_label_leakage/What-is-measured`. A link to a notebook,
`[…](3_label_leakage.ipynb#What-is-measured)`, leads to the section, on whatever page its chapter
is, and is words alone while it is on none.
"""

import base64
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from html import escape, unescape
from itertools import chain, count
from pathlib import PurePosixPath
from urllib.parse import quote, unquote
from xml.etree import ElementTree

from latex2mathml.converter import convert_to_element
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbformat import NotebookNode

TABLE = {"ru": "Таблица", "en": "Table"}
IN_ADDRESS = "!$&'()*+,/:;=?@-._~"  # what a fragment may hold beside letters and digits
DECIMALS = re.compile(r"""((?: |"|ate\()-?\d+\.\d\d)\d+""")  # places: 1/100 of a point will do
SVG_SIZE = re.compile(r'<svg\b[^>]*\bwidth="([\d.]+)pt"[^>]*\bheight="([\d.]+)pt"')


@dataclass
class Chapter:
    """One notebook in one language; its headings and links come in as it is rendered."""

    name: str  # the notebook's, without .ipynb
    language: str
    files: dict[str, str]  # chapter -> the file of the page that has it, for all pages
    addresses: list[str] | None  # of its headings, where the other language has given them
    tables: Iterator[int]  # the next one's number; shared by a page's chapters
    figures: Iterator[int]
    headings: list[dict] = field(default_factory=list)  # address, level, label (HTML), words
    links: dict[str, str] = field(default_factory=dict)  # address -> the link as it was written
    body: str = ""

    def html(self, markdown: str, escape: bool = False) -> str:
        """The Markdown as HTML, no dash at a line's start; escape what is not the author's own.

        Raises ValueError if a formula cannot be set or a heading has no twin.
        """
        html = MarkdownWithMath(PageRenderer(self, escape)).render(markdown)
        html = re.sub(r"\s\+\sCM\b", "\u00a0+\u00a0CM", html)  # a variant's name stays on its line
        html = re.sub(r"\((?=<math)|</math>(?=[.,;:)])", "\\g<0>\u2060", html)  # nor is "." alone
        return re.sub(r"(?<=\S)\s+—(?=\s)", "\u00a0—", html)

    def figure(self, output: NotebookNode, kind: str) -> dict[str, str | int]:
        """What is shown of a figure: src, number, alt, caption; raises ValueError without alt.

        An SVG's width and height, px, 4/3 a pt, keep its place free: a link lands where it should.
        """
        data, about = output.data[kind], output.metadata
        if not about.get("alt"):
            raise ValueError(
                f"{self.name}: the figure {about.get('name')!r} has no alt text: follow it by "
                f"a markdown cell tagged {self.language} and caption that ends in <!-- alt: … -->"
            )
        is_svg, size = kind == "image/svg+xml", SVG_SIZE.search(data)
        drawn = DECIMALS.sub(r"\1", " ".join(data.split())).encode()
        encoded = base64.b64encode(drawn).decode() if is_svg else "".join(data.split())
        shown = {"number": next(self.figures), "src": f"data:{kind};base64,{encoded}"}
        sides = [round(4 / 3 * float(pt)) for pt in size.groups()] if size else ()
        return about | shown | dict(zip(("width", "height"), sides))

    def address(self, words: str) -> str:
        """The next heading's address: its twin's, or else made of its own words."""
        if self.addresses is not None:
            if len(self.headings) == len(self.addresses):
                raise ValueError(f"{self.name}: the heading {words!r} has no twin in English")
            return self.addresses[len(self.headings)]
        plain = f"{self.name}/{'-'.join(words.split())}"
        numbered = (f"{plain}-{number}" for number in count(2))
        taken = {heading["address"] for heading in self.headings}
        return next(own for own in chain([plain], numbered) if own not in taken)


class PageRenderer(IPythonRenderer):
    """Markdown with MathML, addressed headings, links between chapters and tables that scroll."""

    def __init__(self, chapter: Chapter, escape: bool):
        super().__init__(escape=escape, allow_harmful_protocols=False)
        self.chapter = chapter

    def heading(self, text: str, level: int, **attrs) -> str:
        """A heading that can be linked to; the contents keep its words without their links."""
        label = re.sub(r"</?a\b[^>]*>", "", text)
        words = unescape(re.sub(r"<[^>]*>", "", label))
        address = self.chapter.address(words)
        self.chapter.headings.append(dict(address=address, level=level, label=label, words=words))
        anchor = f'<a class="anchor" href="{href(address)}" tabindex="-1" aria-hidden="true"></a>'
        return f'<h{level} id="{escape(address)}">{text}{anchor}</h{level}>\n'

    def link(self, text: str, url: str, title: str | None = None) -> str:
        """A link to a notebook or to a section of this one leads into the page."""
        notebook, _, section = url.partition("#")
        if "://" in url or (notebook and not notebook.endswith(".ipynb")):
            return super().link(text, url, title)
        name = PurePosixPath(notebook).stem if notebook else self.chapter.name
        files = self.chapter.files
        if name not in files:
            return text
        address = f"{name}/{unquote(section)}" if section else name
        self.chapter.links[address] = url
        file = "" if files[name] == files[self.chapter.name] else files[name]
        return f'<a href="{file}{href(address)}">{text}</a>'

    def table(self, text: str) -> str:
        """A table in a box of its own, which a keyboard can scroll."""
        label = f"{TABLE[self.chapter.language]} {next(self.chapter.tables)}"
        box = f'<div class="table" role="region" tabindex="0" aria-label="{label}">'
        return f"{box}<table>{text}</table></div>\n"

    def table_cell(self, text: str, align: str | None = None, head: bool = False) -> str:
        """A cell aligned by a class, not by a style: the page's policy lets no style in."""
        tag, scope = ("th", ' scope="col"') if head else ("td", "")
        return f'<{tag} class="{align or "left"}"{scope}>{text}</{tag}>\n'

    def block_code(self, code: str, info: str | None = None) -> str:
        """Code, which a keyboard can scroll."""
        return super().block_code(code, info).replace("<pre>", '<pre tabindex="0">')

    def inline_math(self, body: str) -> str:
        """$…$"""
        return mathml(body, "inline")

    def block_math(self, body: str) -> str:
        """$$…$$"""
        return f'<span class="formula" tabindex="0">{mathml(body, "block")}</span>'


def href(address: str) -> str:
    """The address as a link's target within the page."""
    return escape("#" + quote(address, safe=IN_ADDRESS))


def mathml(latex: str, display: str) -> str:
    """The formula as MathML; raises ValueError, naming it, if it cannot be set."""
    try:
        formula = convert_to_element(latex.replace("{,}", r"\text{,}"), display=display)
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
