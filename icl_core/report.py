"""Text, tables and figures in two languages: what the notebooks show.

Each function emits one output a language, labelled in the output's metadata, so that a page can
keep one of them. Numbers come in as numbers and leave in the reader's convention.
"""

import io
import math
from collections.abc import Callable

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from IPython.display import SVG, Markdown, display
from matplotlib.ticker import ScalarFormatter

LANGUAGES = ("ru", "en")
_COLOURS = sns.color_palette("colorblind").as_hex()
# The same colour, marker and dash for the same variant everywhere; dashed is without a mask.
STYLE = {
    "SPE + CM": dict(color=_COLOURS[1], marker="s", linestyle="-"),
    "LPE + CM": dict(color=_COLOURS[0], marker="o", linestyle="-"),
    "CM": dict(color=_COLOURS[2], marker="^", linestyle="-"),
    "SPE": dict(color=_COLOURS[3], marker="X", linestyle="--"),
    "LPE": dict(color=_COLOURS[9], marker="P", linestyle="--"),
    "none": dict(color="#555555", marker="D", linestyle="--"),
}
# The Russian name and the dash of every reference solver, which are all grey.
SOLVERS = {
    "least squares": ("метод наименьших квадратов", (0, (1, 1))),
    "ridge": ("гребневая регрессия", (0, (5, 1))),
    "averaging": ("усреднение", (0, (3, 1, 1, 1))),
    "3 nearest neighbours": ("3 ближайших соседа", (0, (5, 3))),
    "zero": ("ноль", (0, (1, 3))),
}
STATUSES = {
    "confirmed": {"ru": "подтверждено", "en": "confirmed"},
    "not confirmed": {"ru": "не подтверждено", "en": "not confirmed"},
    "open": {"ru": "открыто", "en": "open"},
}
THEME = {
    "figure.dpi": 100,
    "svg.hashsalt": "icl",  # the same ids in every build
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
}


_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def number(value: float, language: str, digits: int = 3) -> str:
    """value with so many significant digits; «—» for nan; a decimal comma in Russian."""
    if isinstance(value, str):
        return value.replace(" + ", "\u00a0+\u00a0")  # a variant's name stays on one line
    if not math.isfinite(value):
        return "—" if math.isnan(value) else "∞"
    text = f"{value:.{digits}g}"
    if float(value).is_integer():
        text = f"{int(value):,}".replace(",", "\u202f")
    if "e" in text:
        mantissa, exponent = text.split("e")
        text = f"{mantissa} · 10{str(int(exponent)).translate(_SUPERSCRIPT)}"
    return text.replace("-", "−").replace(".", "," if language == "ru" else ".")


def say(ru: str, en: str, role: str = "text", **values: float | str | dict) -> None:
    """Emits both texts as Markdown with {name} replaced by the values, formatted for each.

    A dict holds a value for each language. The role "headline" puts the text into README as well.
    """
    for language, text in zip(LANGUAGES, (ru, en)):
        words = {name: _words(value, language) for name, value in values.items()}
        metadata = {"language": language, "role": role}
        display(Markdown(text.format(**words)), metadata=metadata)


def table(frame: pd.DataFrame, ru: dict[str, str], en: dict[str, str]) -> None:
    """Emits the columns named in ru and en as a table; cells that are dicts hold both languages."""
    for language, names in zip(LANGUAGES, (ru, en)):
        shown = frame[list(names)].rename(columns=names)
        numeric = [pd.api.types.is_numeric_dtype(shown[column]) for column in shown]
        shown = shown.map(lambda cell: _words(cell, language))  # noqa: B023
        text = shown.to_markdown(
            index=False,
            disable_numparse=True,
            colalign=["right" if is_number else "left" for is_number in numeric],
        )
        display(Markdown(text), metadata={"language": language})


def _words(value: float | str | dict, language: str) -> str:
    return number(value[language] if isinstance(value, dict) else value, language)


def figure(
    name: str,
    draw: Callable[[Callable[[str, str], str]], plt.Figure],
    ru: dict[str, str],
    en: dict[str, str],
) -> None:
    """Draws a figure in each language and emits it as SVG, its name in the output's metadata.

    draw(t) returns the figure and asks t(russian, english) for its words; ru and en hold the
    figure's alt text and its caption. The same data give the same bytes.
    """
    for language, words in zip(LANGUAGES, (ru, en)):
        with sns.axes_style("ticks"), plt.rc_context(THEME):
            drawn = draw(lambda *both: both[LANGUAGES.index(language)])  # noqa: B023
            if language == "ru":
                _decimal_comma(drawn)
            svg = io.StringIO()
            drawn.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
            plt.close(drawn)
        metadata = {"language": language, "name": name, **words}
        display(SVG(svg.getvalue()), metadata=metadata)
        caption = {"language": language, "role": "caption"}
        display(Markdown(f"*{words['caption']}*"), metadata=caption)


def _decimal_comma(drawn: plt.Figure) -> None:
    for axes in drawn.axes:
        for axis, scale in ((axes.xaxis, axes.get_xscale()), (axes.yaxis, axes.get_yscale())):
            if scale == "linear" and isinstance(axis.get_major_formatter(), ScalarFormatter):
                axis.set_major_formatter(lambda value, _: number(round(value, 6), "ru"))


def draw_lines(
    axes: plt.Axes, frame: pd.DataFrame, x: str, y: str, variants: list[str], markers: int = 8
) -> None:
    """A line a variant: the mean over runs of y against x, in a band from least to largest."""
    for variant in variants:
        own = frame[frame.variant == variant].groupby(x)[y]
        mean, low, high = own.mean(skipna=False), own.min(), own.max()
        every = max(1, len(mean) // markers)
        axes.plot(mean.index, mean, label=variant, markevery=every, markersize=5, **STYLE[variant])
        if own.size().max() > 1:
            colour = STYLE[variant]["color"]
            axes.fill_between(mean.index, low, high, color=colour, alpha=0.15, linewidth=0)


def draw_solvers(axes: plt.Axes, errors: pd.DataFrame, t: Callable[[str, str], str]) -> None:
    """A thin grey line a reference solver: its error against k."""
    for solver, own in errors.groupby("solver", sort=False):
        name, dash = SOLVERS[solver]
        axes.plot(
            own.k, own.error, color="grey", linewidth=1, linestyle=dash, label=t(name, solver)
        )


def draw_points(axes: plt.Axes, frame: pd.DataFrame, y: str, variants: list[str]) -> None:
    """A point a run for each variant; open points are the looped runs (b > 1)."""
    for place, variant in enumerate(variants):
        own = frame[frame.variant == variant].sort_values(["b", "seed"])
        colour, marker = STYLE[variant]["color"], STYLE[variant]["marker"]
        for i, (b, value) in enumerate(zip(own.b, own[y])):
            shift = 0.5 * ((i + 0.5) / len(own) - 0.5)
            face = colour if b == 1 else "white"
            axes.plot(
                place + shift, value, marker, color=colour, markerfacecolor=face, markersize=7
            )
    axes.set_xticks(range(len(variants)), variants, rotation=30, ha="right")
