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

from icl_core.verdicts import overall

LANGUAGES = ("ru", "en")
_COLOURS = sns.color_palette("colorblind").as_hex()
# The same colour, marker and dash for the same variant everywhere; dashed is without a mask,
# dash-dotted with the prefix mask. A variant with another loss looks as the one it is named after.
STYLE = {
    "SPE + CM": dict(color=_COLOURS[1], marker="s", linestyle="-"),
    "LPE + CM": dict(color=_COLOURS[0], marker="o", linestyle="-"),
    "CM": dict(color=_COLOURS[2], marker="^", linestyle="-"),
    "SPE": dict(color=_COLOURS[3], marker="X", linestyle="--"),
    "LPE": dict(color=_COLOURS[9], marker="P", linestyle="--"),
    "none": dict(color="#555555", marker="D", linestyle="--"),
    "TPE + CM": dict(color=_COLOURS[4], marker="*", linestyle="-"),
    "TPE": dict(color=_COLOURS[4], marker="*", linestyle="--"),
    "pair + CM": dict(color=_COLOURS[5], marker="v", linestyle="-"),
    "pair": dict(color=_COLOURS[5], marker="v", linestyle="--"),
    "pair + TPE + CM": dict(color="#5b3a8c", marker="h", linestyle="-"),
    "pair + TPE": dict(color="#5b3a8c", marker="h", linestyle="--"),
    "RoPE + CM": dict(color="#000000", marker="<", linestyle="-"),
    "ALiBi + CM": dict(color="#8a8a8a", marker=">", linestyle="-"),
    "SPE small + CM": dict(color="#e8a33d", marker="1", linestyle="-"),
    "SPE small": dict(color="#e8a33d", marker="1", linestyle="--"),
    "LPE large + CM": dict(color="#1f4e8c", marker="2", linestyle="-"),
    "LPE large": dict(color="#1f4e8c", marker="2", linestyle="--"),
    "PM": dict(color="#00563f", marker="p", linestyle="-."),
    "SPE + PM": dict(color="#7a4b00", marker="d", linestyle="-."),
    "LPE + PM": dict(color="#003a63", marker="H", linestyle="-."),
}
# The Russian name and the dash of every reference solver, which are all grey.
SOLVERS = {
    "least squares": ("метод наименьших квадратов", (0, (1, 1))),
    "ridge": ("гребневая регрессия", (0, (5, 1))),
    "averaging": ("усреднение", (0, (3, 1, 1, 1))),
    "3 nearest neighbours": ("3 ближайших соседа", (0, (5, 3))),
    "zero": ("ноль", (0, (1, 3))),
    "lasso": ("лассо", (0, (4, 1, 1, 1))),
    "gradient descent": ("градиентный спуск", (0, (4, 2, 1, 2))),
    "greedy tree": ("жадное дерево", (0, (2, 2))),
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


def style(variant: str) -> dict:
    """How a variant is drawn, whatever loss it was trained with."""
    return STYLE[variant.partition(" (")[0]]


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
    output: Callable[[str], SVG] = SVG,
) -> None:
    """Draws a figure in each language and emits it as SVG, its name in the output's metadata.

    draw(t) returns the figure and asks t(russian, english) for its words; ru and en hold the
    figure's alt text and its caption; output makes of the SVG's text what is emitted. The same data
    give the same bytes.
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
        display(output(svg.getvalue()), metadata=metadata)
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
        axes.plot(mean.index, mean, label=variant, markevery=every, markersize=5, **style(variant))
        if own.size().max() > 1:
            colour = style(variant)["color"]
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
        colour, marker = style(variant)["color"], style(variant)["marker"]
        for i, (b, value) in enumerate(zip(own.b, own[y])):
            shift = 0.5 * ((i + 0.5) / len(own) - 0.5)
            face = colour if b == 1 else "white"
            axes.plot(
                place + shift, value, marker, color=colour, markerfacecolor=face, markersize=7
            )
    axes.set_xticks(range(len(variants)), variants, rotation=30, ha="right")


def draw_losses(
    curves: pd.DataFrame, variants: list[str], zero: float, t: Callable[[str, str], str]
) -> plt.Figure:
    """Training loss beside target error, by step; zero: the target error of “always zero”."""
    figure, axes = plt.subplots(1, 2, figsize=(12, 4.5), sharey=True)
    titles = (
        t("функция потерь на обучении", "training loss"),
        t("ошибка в целевой задаче", "target error"),
    )
    columns = ("training_loss", "target_error")
    for ax, column, level, title in zip(axes, columns, (1, zero), titles):
        draw_lines(ax, curves, "step", column, variants)
        ax.axhline(level, color="grey", linewidth=0.8, linestyle=":")
        ax.set(title=title, xlabel=t("шаг", "step"), yscale="log")
    axes[0].set_ylabel(t("квадрат ошибки / d", "squared error / d"))
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right center")
    return figure


def draw_performance(
    errors: pd.DataFrame, solvers: pd.DataFrame, variants: list[str], t: Callable[[str, str], str]
) -> plt.Figure:
    """Target error against k, with the reference solvers; beside it the error of each run."""
    figure, axes = plt.subplots(1, 2, figsize=(12, 5), width_ratios=[3, 2], sharey=True)
    finite = [1, *errors.error[errors.error < math.inf]]  # 1 if every variant has diverged
    lowest, highest, n = min(finite) / 3, max(4, 1.3 * max(finite)), errors.k.max()
    draw_lines(axes[0], errors, "k", "error", variants)
    draw_solvers(axes[0], solvers[solvers.error > lowest], t)
    draw_points(axes[1], errors[errors.k == n], "error", variants)
    axes[0].set(yscale="log", xlabel=t("число in-context примеров k", "in-context examples k"))
    axes[0].set(ylim=(lowest, highest), ylabel=t("квадрат ошибки / d", "squared error / d"))
    axes[1].set_title(t(f"k = {n}, по запускам", f"k = {n}, by run"))
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right center")
    return figure


def draw_effects(results: pd.DataFrame, t: Callable[[str, str], str]) -> plt.Figure:
    """A row a ratio: its mean and interval for each b, and the threshold."""
    ratios = results[results.geometric].reset_index(drop=True)
    figure, ax = plt.subplots(figsize=(9, 1.2 + 0.42 * len(ratios)))
    for place, row in ratios.iterrows():
        threshold, arrow = (row.above, "→") if pd.notna(row.above) else (row.below, "←")
        ax.plot([threshold] * 2, [place - 0.4, place + 0.4], color="#555555", linewidth=1.5)
        shift = (8 if arrow == "→" else -8, 0)
        ax.annotate(arrow, (threshold, place - 0.3), shift, textcoords="offset points", ha="center")
        for i, (b, own) in enumerate(row.by_b.items()):
            y = place + 0.6 * ((i + 0.5) / len(row.by_b) - 0.5)
            ax.plot([own.low, own.high], [y, y], color=_COLOURS[0], linewidth=1.5)
            face = _COLOURS[0] if b == 1 else "white"
            ax.plot(own.value, y, "o", color=_COLOURS[0], markerfacecolor=face, markersize=6)
    ax.set(xscale="log", yticks=range(len(ratios)), xlabel=t("отношение", "ratio"))
    ax.set_yticklabels([f"{row.point}:  {row.quantity}" for row in ratios.itertuples()])
    ax.invert_yaxis()
    return figure


def verdict_table(results: pd.DataFrame) -> None:
    """Emits a row a claim (threshold, mean, interval, verdict), then the verdict on each point."""
    shown = results.assign(
        threshold=[_threshold(row) for row in results.itertuples()],
        status=[STATUSES[status] for status in results.status],
        b=[", ".join(map(str, b)) for b in results.b],
    )
    table(
        shown,
        ru={
            "point": "пункт",
            "quantity": "величина",
            "threshold": "порог",
            "value": "среднее",
            "low": "от",
            "high": "до",
            "b": "b",
            "seeds": "зёрна",
            "status": "вердикт",
        },
        en={
            "point": "point",
            "quantity": "quantity",
            "threshold": "threshold",
            "value": "mean",
            "low": "from",
            "high": "to",
            "b": "b",
            "seeds": "seeds",
            "status": "verdict",
        },
    )

    statuses = overall(results)
    wholes = {
        language: "; ".join(
            f"{point}: {STATUSES[own][language]}" for point, own in statuses.items()
        )
        for language in LANGUAGES
    }
    say(
        ru="Пункт целиком подтверждён, если подтверждены все его строки, и не подтверждён, если не "
        "подтверждена хотя бы одна. {wholes}.",
        en="A point as a whole is confirmed if all of its rows are, not confirmed if one of them "
        "is not. {wholes}.",
        wholes=wholes,
    )


def _threshold(row) -> dict[str, str]:
    """The threshold with its side, “> 0.5”, in each language; of a range, both ends."""
    sides = [(">", row.above), ("<", row.below)]
    return {
        language: ", ".join(f"{sign} {number(at, language)}" for sign, at in sides if pd.notna(at))
        for language in LANGUAGES
    }
