"""How results are drawn: a look for every variant and solver, and the figures made of them.

The same colour, marker and dash for the same variant everywhere. t(russian, english) is the word in
the figure's language.
"""

import math
from collections.abc import Callable

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from sklearn.isotonic import isotonic_regression

from icl_report.verdicts import typical

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
NAME_HEIGHT = 0.17  # inches that a line's name takes
# The Russian name and the dash of every reference solver, which are all grey.
SOLVERS = {
    "least squares": ("метод наименьших квадратов", (0, (1, 1))),
    "ridge": ("гребневая регрессия", (0, (5, 1))),
    "averaging": ("усреднение", (0, (3, 1, 1, 1))),
    "3 nearest neighbours": ("3 ближайших соседа", (0, (5, 3))),
    "sums": ("суммы", (0, (6, 1, 1, 1, 1, 1))),
    "zero": ("ноль", (0, (1, 3))),
    "lasso": ("лассо", (0, (4, 1, 1, 1))),
    "gradient descent": ("градиентный спуск", (0, (4, 2, 1, 2))),
    "greedy tree": ("жадное дерево", (0, (2, 2))),
}


def style(variant: str) -> dict:
    """How a variant is drawn, whatever loss it was trained with."""
    return STYLE[variant.partition(" (")[0]]


def run_name(variant: str, b: int, seed: int, t: Callable[[str, str], str]) -> str:
    """What a variant's point of one run is called."""
    return f"{variant}, b = {b}, {t('зерно', 'seed')} {seed}"


def draw_lines(axes: plt.Axes, frame: pd.DataFrame, x: str, y: str, variants: list[str]) -> None:
    """A line a variant: y's geometric mean over runs against x, in a band from least to largest."""
    for variant in variants:
        own = frame[frame.variant == variant].groupby(x)[y]
        mean, low, high = own.agg(typical), own.min(), own.max()
        every = max(1, len(mean) // 8)
        axes.plot(mean.index, mean, label=variant, markevery=every, markersize=5, **style(variant))
        if own.size().max() > 1:
            colour = style(variant)["color"]
            axes.fill_between(mean.index, low, high, color=colour, alpha=0.15, linewidth=0)


def named_lines(axes: plt.Axes) -> dict[plt.Line2D, np.ndarray]:
    """Each line with a name -> its finite points (n, 2), if it has any."""
    found = {}
    for line in axes.lines:
        points = np.asarray(line.get_xydata(), dtype=float)
        points = points[np.isfinite(points).all(axis=1)]
        if len(points) and not line.get_label().startswith("_"):
            found[line] = points
    return found


def name_lines(axes: plt.Axes) -> None:
    """Writes the name of every line drawn so far at its right end, no two names on each other.

    To be called once the scales are set. A line without a finite value stays without a name.
    """
    axes.get_ylim()  # settles the limits, which the places depend on
    to_axes = axes.transData + axes.transAxes.inverted()
    ends = {line: points[-1] for line, points in named_lines(axes).items()}
    if not ends:
        return
    lines = sorted(ends, key=lambda line: ends[line][1])
    wanted = np.array([to_axes.transform(ends[line])[1] for line in lines])
    # The places nearest to the ends that keep a name's height apart: an isotonic regression.
    height = 0.8 * axes.figure.get_figheight() / axes.get_gridspec().nrows
    apart = NAME_HEIGHT / height * np.arange(len(lines))
    room = 1 - apart[-1]
    places = isotonic_regression(wanted - apart, y_min=min(0, room), y_max=max(0, room)) + apart
    for line, place in zip(lines, places):
        axes.annotate(
            line.get_label(),
            ends[line],
            (1.01, place),
            textcoords="axes fraction",
            va="center",
            fontsize="small",
            arrowprops=dict(
                arrowstyle="-", color=line.get_color(), linewidth=0.8, relpos=(0, 0.5), shrinkB=0
            ),
        )


def draw_solvers(axes: plt.Axes, errors: pd.DataFrame, t: Callable[[str, str], str]) -> None:
    """A thin grey line a reference solver: its error against k."""
    for solver, own in errors.groupby("solver", sort=False):
        name, dash = SOLVERS[solver]
        axes.plot(
            own.k, own.error, color="grey", linewidth=1, linestyle=dash, label=t(name, solver)
        )


def draw_points(
    axes: plt.Axes,
    frame: pd.DataFrame,
    y: str,
    variants: list[str],
    t: Callable[[str, str], str],
) -> None:
    """A point a run for each variant; open points are the looped runs (b > 1)."""
    for place, variant in enumerate(variants):
        own = frame[frame.variant == variant].sort_values(["b", "seed"])
        look = style(variant)
        for i, (b, seed, value) in enumerate(zip(own.b, own.seed, own[y])):
            shift = 0.5 * ((i + 0.5) / len(own) - 0.5)
            point = dict(
                mfc=look["color"] if b == 1 else "white", label=run_name(variant, b, seed, t)
            )
            axes.plot(place + shift, value, look["marker"], color=look["color"], ms=7, **point)
    axes.set_xticks(range(len(variants)), variants, rotation=30, ha="right")


def draw_losses(
    curves: pd.DataFrame, variants: list[str], zero: float, t: Callable[[str, str], str]
) -> plt.Figure:
    """Training loss beside target error, by step, a row a b.

    zero: the target error of “always zero”.
    """
    rows = list(curves.groupby("b"))
    figure, axes = plt.subplots(
        len(rows), 2, figsize=(12, 4.5 * len(rows)), sharex=True, sharey=True, squeeze=False
    )
    titles = (
        t("функция потерь на обучении", "training loss"),
        t("ошибка в целевой задаче", "target error"),
    )
    columns = ("training_loss", "target_error")
    for pair, (b, own) in zip(axes, rows):
        for ax, column, level, title in zip(pair, columns, (1, zero), titles):
            draw_lines(ax, own, "step", column, variants)
            ax.axhline(level, color="grey", linewidth=0.8, linestyle=":")
            ax.set(title=f"{title}, b = {b}", yscale="log")
        pair[0].set_ylabel(t("квадрат ошибки / d", "squared error / d"))
    for ax in axes[-1]:
        ax.set_xlabel(t("шаг", "step"))
    for ax in axes.flat:  # now that all have their common scale
        name_lines(ax)
    return figure


def draw_performance(
    errors: pd.DataFrame, solvers: pd.DataFrame, variants: list[str], t: Callable[[str, str], str]
) -> plt.Figure:
    """Target error against k for each b, with the reference solvers; then the error of each run."""
    of_b = list(errors.groupby("b"))
    widths = [3] * len(of_b) + [2]
    figure, axes = plt.subplots(1, len(widths), figsize=(12, 5), width_ratios=widths, sharey=True)
    finite = [1, *errors.error[errors.error < math.inf]]  # 1 if every variant has diverged
    lowest, highest, n = min(finite) / 3, max(4, 1.3 * max(finite)), errors.k.max()
    axes[0].set_ylabel(t("квадрат ошибки / d", "squared error / d"))
    for ax, (b, own) in zip(axes, of_b):
        draw_lines(ax, own, "k", "error", variants)
        ax.set(title=f"b = {b}", yscale="log", ylim=(lowest, highest))
        ax.set_xlabel(t("число in-context примеров k", "in-context examples k"))
        name_lines(ax)
        named = len(ax.lines)
        draw_solvers(ax, solvers[solvers.error > lowest], t)
    draw_points(axes[-1], errors[errors.k == n], "error", variants, t)
    axes[-1].set_title(t(f"k = {n}, по запускам", f"k = {n}, by run"))
    figure.legend(handles=ax.lines[named:], loc="outside lower center", ncols=6)
    return figure


def draw_effects(results: pd.DataFrame, t: Callable[[str, str], str]) -> plt.Figure:
    """A row a claim that is judged by logarithms: mean and interval for each b, threshold."""
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
            point = dict(mfc=face, label=f"{row.quantity}, b = {b}")
            ax.plot(own.value, y, "o", color=_COLOURS[0], ms=6, **point)
    ax.set(xscale="log", yticks=range(len(ratios)), xlabel=t("значение", "value"))
    ax.set_yticklabels([f"{row.point}:  {row.quantity}" for row in ratios.itertuples()])
    ax.invert_yaxis()
    return figure


def draw_leak(axes: plt.Axes, leak: pd.DataFrame, n_tokens: int) -> None:
    """A line a head and loop iteration: the attention weight from x_i to its own y_i by step.

    leak is a run's, of one variant; blue is the first layer, orange the later ones, dotted
    uniform attention over n_tokens.
    """
    for (layer, *_), own in leak.groupby(["layer", "loop", "head"]):
        colour = "#0173b2" if layer == 1 else "#d55e00"
        axes.plot(own.step, own.weight, color=colour, linewidth=0.8)
    axes.axhline(1 / n_tokens, color="grey", linewidth=0.8, linestyle=":")
    axes.set(ylim=(0, 1))


def draw_ranking(
    full: pd.DataFrame, order: list[str], main_b: int, zero: float, t: Callable[[str, str], str]
) -> plt.Figure:
    """A row a variant, in this order: each run's target error, their geometric mean at main_b.

    full has a row a run and variant; zero is the target error of “always zero”.
    """
    figure, ax = plt.subplots(figsize=(6, 1.1 + 0.3 * len(order)))  # a telephone's width
    for place, name in enumerate(order):
        own, look = full[full.variant == name].sort_values(["b", "seed"]), style(name)
        for i, (b, seed, error) in enumerate(zip(own.b, own.seed, own.error)):
            y = place + 0.5 * ((i + 0.5) / len(own) - 0.5)
            point = dict(mfc=look["color"] if b == 1 else "white", label=run_name(name, b, seed, t))
            ax.plot(error, y, look["marker"], color=look["color"], ms=7, **point)
        mean = typical(own.error[own.b == main_b])
        ax.plot([mean] * 2, [place - 0.4, place + 0.4], color=look["color"], linewidth=1.5)
    ax.axvline(zero, color="grey", linewidth=0.8, linestyle=":")
    ax.set(xscale="log", yticks=range(len(order)), yticklabels=order)
    ax.set_xlabel(t("ошибка в целевой задаче", "target error"))
    ax.grid(axis="y", color="#eeeeee")
    ax.invert_yaxis()
    return figure


def draw_growth(growth: pd.DataFrame, t: Callable[[str, str], str]) -> plt.Figure:
    """Seconds a step against what grows, one panel each, beside growth in proportion.

    growth: rows (grows, value, seconds) as benchmarks/throughput.py writes them.
    """
    labels = {
        "b": t("итерации цикла b", "loop iterations b"),
        "n_examples": t("in-context примеры n", "in-context examples n"),
        "stack": t("вариантов вместе", "variants together"),
    }
    figure, axes = plt.subplots(1, len(labels), figsize=(12, 3.5))
    for ax, (what, label) in zip(axes, labels.items()):
        own = growth[growth.grows == what]
        first = own.iloc[0]
        ax.plot(own.value, own.seconds, "o-", color=_COLOURS[0], label="LPE + CM")
        ax.plot(own.value, first.seconds * own.value / first.value, "--", color="grey", linewidth=1)
        ax.set(xlabel=label, ylim=(0, None))
    axes[0].set_ylabel(t("секунд на шаг", "seconds a step"))
    return figure
