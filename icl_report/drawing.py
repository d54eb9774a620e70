"""How results are drawn: colour from the encoding, dash from the mask, in every figure."""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.isotonic import isotonic_regression

from icl_core.encodings import DASHES, ENCODINGS, VARIANTS

WIDTH = 5.2  # inches, of each of the story's figures: a telephone shows it whole, to be read
NAME_HEIGHT = 0.17  # inches that a line's name takes
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


def use_theme() -> None:
    """One look for every figure drawn from here on, on any machine."""
    plt.style.use(["default", THEME])


def style(variant: str) -> dict[str, str]:
    """How a variant's line is drawn; raises KeyError for a name that is none."""
    encoding, mask = VARIANTS[variant]
    return {"color": ENCODINGS[encoding].colour, "linestyle": DASHES[mask]}


def name_lines(axes: plt.Axes) -> None:
    """Writes the name of every line drawn so far at its right end, no two names on each other.

    To be called once the scales are set. A line without a finite value stays without a name.
    """
    view = sorted(axes.get_ylim())  # settles the limits, which the places depend on
    to_axes = axes.transData + axes.transAxes.inverted()
    ends = {}  # line -> the last of its finite points, at the edge if it is out of sight
    for line in axes.lines:
        points = np.ma.compress_rows(np.ma.masked_invalid(line.get_xydata()))
        if len(points) and not line.get_label().startswith("_"):
            ends[line] = points[-1][0], np.clip(points[-1][1], *view)
    if not ends:
        return
    lines = sorted(ends, key=lambda line: ends[line][1])
    wanted = np.array([to_axes.transform(ends[line])[1] for line in lines])
    # The places nearest to the ends that keep a name's height apart: an isotonic regression.
    height = 0.8 * axes.figure.get_figheight() / axes.get_gridspec().nrows
    apart = NAME_HEIGHT / height * np.arange(len(lines))
    room = 1 - apart[-1]
    places = isotonic_regression(wanted - apart, y_min=min(0, room), y_max=max(0, room)) + apart
    text = dict(textcoords="axes fraction", va="center", fontsize="small")
    arrow = dict(arrowstyle="-", linewidth=0.8, relpos=(0, 0.5), shrinkB=0)
    for line, place in zip(lines, places):
        arrow["color"] = line.get_color()
        axes.annotate(line.get_label(), ends[line], (1.01, place), arrowprops=arrow, **text)
