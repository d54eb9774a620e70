"""What the notebooks show, in two languages: sentences, tables and figures.

A sentence is one output a language. A table or a figure is one output: English as the notebook's
author wrote it, and beside it, for the page, the same in Russian by glossary.yaml. Numbers come in
as numbers and leave in the reader's convention.
"""

import io
import math
import re
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import yaml
from IPython.display import Markdown, display
from matplotlib.axis import Axis
from matplotlib.text import Text
from matplotlib.ticker import LogFormatter, LogLocator, NullFormatter, ScalarFormatter

from icl_core.records import root_folder

LANGUAGES = ("ru", "en")
RUSSIAN = "application/vnd.icl.russian"  # an output's Russian twin, beside its English data
BROKEN = {"ru": "Это утверждение больше не выполняется", "en": "This sentence no longer holds"}
NUMBER = re.compile(r"\d+(?:\.\d+)?")
WORD = re.compile(r"[a-z]{2,}")  # what makes a text English; SPE, CM, b and x are no words
FORMULA = re.compile(r"\$[^$]*\$")
JOINTS = re.compile(r"(, | \+ | · |: |\n)")
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def number(value: float | str, language: str, digits: int = 3) -> str:
    """value with so many significant digits; «—» for nan; a decimal comma in Russian.

    A text stays as it is; a variant's name stays on one line.
    """
    if isinstance(value, str):
        return value.replace(" + ", "\u00a0+\u00a0")
    if not math.isfinite(value):
        return "—" if math.isnan(value) else "∞"
    text = f"{value:.{digits}g}"
    if float(value).is_integer() or 10**digits <= abs(float(text)) < 10**6:
        text = f"{value if float(value).is_integer() else float(text):,.0f}".replace(",", "\u202f")
    if "e" in text:
        mantissa, exponent = text.split("e")
        text = f"{mantissa}\u00a0·\u00a010{str(int(exponent)).translate(_SUPERSCRIPT)}"
    return text.replace("-", "−").replace(".", "," if language == "ru" else ".")


def short(value: float) -> float:
    """value with two significant digits, as a sentence has it."""
    return float(f"{value:.2g}")


class MissingWordError(LookupError):
    """Words that glossary.yaml lacks."""


@cache
def glossary() -> dict[str, str]:
    """English -> Russian; {} stands for a number."""
    return yaml.safe_load((Path(__file__).parent / "glossary.yaml").read_text(encoding="utf-8"))


def russian(words: str) -> str:
    """The Russian of a label: as a whole, or part by part between commas, colons and plus signs.

    Raises MissingWordError for an English word that the glossary does not have.
    """
    if not WORD.search(FORMULA.sub("", words)):
        return re.sub(r"(?<=\d)\.(?=\d)", ",", words)
    if (found := glossary().get(NUMBER.sub("{}", words))) is not None:
        return found.format(*(own.replace(".", ",") for own in NUMBER.findall(words)))
    if len(parts := JOINTS.split(words)) == 1:
        raise MissingWordError(words)
    return "".join(map(russian, parts))


def _translated(words: str, language: str, missing: set[str]) -> str:
    """The words in that language; where the glossary lacks some, they are noted, and stay."""
    try:
        return russian(words) if language == "ru" else words
    except MissingWordError as error:
        missing.add(str(error))
        return words


def say(ru: str, en: str, holds: bool = True, role: str = "text", **values: float | str) -> None:
    """Emits both texts as Markdown with {name} replaced by the values, formatted for each.

    holds is the condition that the sentence stands on: if it is not true, a box says so, and
    pages.build refuses the notebook. role "caption" makes it the caption of the figure before it.
    """
    for language, text in zip(LANGUAGES, (ru, en)):
        said = text.format(**{name: number(value, language) for name, value in values.items()})
        if not holds:
            role, said = "broken", f"> **{BROKEN[language]}:** " + said.replace("\n", "\n> ")
        display(Markdown(said), metadata={"language": language, "role": role})


def table(frame: pd.DataFrame, digits: int = 3) -> None:
    """Emits the frame without its index; digits: how many are significant.

    Column names and cells are English; glossary.yaml has their Russian.
    """
    shown, missing = {}, set()
    aligned = ["right" if pd.api.types.is_numeric_dtype(frame[name]) else "left" for name in frame]
    options = {"index": False, "disable_numparse": True, "colalign": aligned}
    for language in LANGUAGES:

        def words(cell, language=language):
            text = _translated(cell, language, missing) if isinstance(cell, str) else cell
            return number(text, language, digits)

        shown[language] = frame.map(words).rename(columns=words).to_markdown(**options)
    _emit("text/markdown", shown, missing, role="table")


def figure(name: str, drawn: plt.Figure, extra: dict | None = None) -> None:
    """Emits the figure as SVG, with its name for figures/, and closes it.

    Its words are English; glossary.yaml has their Russian. extra: further data of the output, by
    MIME type. The same data give the same bytes.
    """
    shown, missing = {}, set()
    ticks = {axis: _ticks(axis) for axes in drawn.axes for axis in (axes.xaxis, axes.yaxis)}
    words = {text: text.get_text() for text in drawn.findobj(Text)}
    for language in LANGUAGES:
        for axis, own in ticks.items():
            axis.set_major_formatter(partial(own, language=language, missing=missing))
        for text, english in words.items():
            text.set_text(_translated(english, language, missing))
        svg = io.StringIO()
        drawn.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
        shown[language] = svg.getvalue()
    plt.close(drawn)
    _emit("image/svg+xml", shown, missing, extra, name=name)


def again(name: str, out: str = ".") -> None:
    """Emits a figure that another notebook drew, from figures/: it is drawn in one place only."""
    folder = root_folder(out) / "figures"
    shown = {own: (folder / f"{name}.{own}.svg").read_text(encoding="utf-8") for own in LANGUAGES}
    _emit("image/svg+xml", shown, set(), again=name)


def _emit(kind: str, shown: dict, missing: set[str], extra: dict | None = None, **metadata) -> None:
    """One output for both languages; what glossary.yaml lacks goes along, and pages refuse it."""
    if missing:
        metadata["missing"] = sorted(missing)
    display({kind: shown["en"], RUSSIAN: shown["ru"]} | (extra or {}), raw=True, metadata=metadata)


def _ticks(axis: Axis) -> Callable:
    """What stands at the axis' ticks in a language: numbers as in the text, words by the glossary.

    The shorter a log axis, the more of each decade has a tick.
    """
    original = axis.get_major_formatter()
    low, high = sorted(axis.get_view_interval())
    if isinstance(original, LogFormatter):
        subs = range(1, 10) if high < 6 * low else (1, 2, 5) if high < 500 * low else (1,)
        axis.set_major_locator(LogLocator(subs=tuple(subs), numticks=20))
        axis.set_minor_formatter(NullFormatter())

    def written(value, pos, language, missing):
        if isinstance(original, (LogFormatter, ScalarFormatter)):
            return number(round(value, 6) if abs(value) > 1e-3 else value, language)
        return _translated(original(value, pos), language, missing)

    return written
