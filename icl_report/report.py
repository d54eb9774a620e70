"""Text, tables and figures in two languages: what the notebooks show.

Each function emits one output a language, labelled in the output's metadata, so that a page can
keep one of them. Numbers come in as numbers and leave in the reader's convention.
"""

import io
import math
from collections.abc import Callable

import matplotlib.pyplot as plt
import pandas as pd
from IPython.display import SVG, Markdown, display
from matplotlib.ticker import LogFormatter, LogLocator, NullFormatter, ScalarFormatter

LANGUAGES = ("ru", "en")
BROKEN = {
    "ru": "Это утверждение больше не выполняется",
    "en": "This sentence no longer holds",
}
THEME = {  # on top of Matplotlib's own defaults, whatever the reader's matplotlibrc says
    "font.family": ["DejaVu Sans"],  # comes with Matplotlib
    "figure.dpi": 100,
    "svg.hashsalt": "icl",  # the same ids in every build
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
}
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


def say(ru: str, en: str, holds: bool = True, **values: float | str | dict) -> None:
    """Emits both texts as Markdown with {name} replaced by the values, formatted for each.

    A dict holds a value for each language. holds is the condition that the sentence stands on: if
    it is not true, a box says so, and pages.build_pages refuses the notebook.
    """
    for language, text in zip(LANGUAGES, (ru, en)):
        words = {name: _words(value, language) for name, value in values.items()}
        said, metadata = text.format(**words), {"language": language, "role": "text"}
        if not holds:
            boxed = said.replace("\n", "\n> ")
            said, metadata["role"] = f"> **{BROKEN[language]}:** {boxed}", "broken"
        display(Markdown(said), metadata=metadata)


def table(
    frame: pd.DataFrame, ru: dict[str, str], en: dict[str, str], digits: int = 3, **metadata
) -> None:
    """Emits the columns named in ru and en as a table; cells that are dicts hold both languages.

    digits: how many are significant; metadata goes into the outputs' own, beside the language.
    """
    for language, names in zip(LANGUAGES, (ru, en)):
        shown = frame[list(names)].rename(columns=names)
        numeric = [pd.api.types.is_numeric_dtype(shown[column]) for column in shown]
        shown = shown.map(lambda cell: _words(cell, language, digits))  # noqa: B023
        text = shown.to_markdown(
            index=False,
            disable_numparse=True,
            colalign=["right" if is_number else "left" for is_number in numeric],
        )
        display(Markdown(text), metadata={"language": language, **metadata})


def _words(value: float | str | dict, language: str, digits: int = 3) -> str:
    return number(value[language] if isinstance(value, dict) else value, language, digits)


def figure(
    name: str,
    draw: Callable[[Callable[[str, str], str]], plt.Figure],
    ru: dict[str, str],
    en: dict[str, str],
    output: Callable[[str], SVG] = SVG,
) -> None:
    """Draws a figure in each language and emits it as SVG, with its name in the metadata.

    draw(t) returns the figure and asks t(russian, english) for its words; ru and en hold the
    figure's alt text and its caption; output makes of the SVG's text what is emitted. The same data
    give the same bytes.
    """
    for language, words in zip(LANGUAGES, (ru, en)):
        with plt.style.context(["default", THEME]):
            drawn = draw(lambda *both: both[LANGUAGES.index(language)])  # noqa: B023
            _readable_ticks(drawn, language)
            svg = io.StringIO()
            drawn.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
            plt.close(drawn)
        metadata = {"language": language, "name": name, **words}
        display(output(svg.getvalue()), metadata=metadata)
        caption = {"language": language, "role": "caption"}
        display(Markdown(f"*{words['caption']}*"), metadata=caption)


def _readable_ticks(drawn: plt.Figure, language: str) -> None:
    """Numbers at the ticks as in the text; the shorter a log axis, the more of each decade."""

    def words(value: float, _) -> str:
        return number(round(value, 6) if abs(value) > 1e-3 else value, language)

    for axes in drawn.axes:
        axes.get_xlim(), axes.get_ylim()  # settles the limits
        for axis, scale in ((axes.xaxis, axes.get_xscale()), (axes.yaxis, axes.get_yscale())):
            low, high = sorted(axis.get_view_interval())
            if scale == "log" and isinstance(axis.get_major_formatter(), LogFormatter):
                span = high / low
                subs = range(1, 10) if span < 6 else (1, 2, 5) if span < 500 else (1,)
                axis.set_major_locator(LogLocator(subs=tuple(subs), numticks=20))
                axis.set_minor_formatter(NullFormatter())
                axis.set_major_formatter(words)
            elif scale == "linear" and isinstance(axis.get_major_formatter(), ScalarFormatter):
                axis.set_major_formatter(words)
