"""The numbers behind a drawn figure, for a page that shows the value under the pointer."""

import json

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import FixedLocator

from icl_report.drawing import named_lines


def points_of(figure: plt.Figure) -> str:
    """JSON of a figure that has been laid out: a list of its axes; "" if no line has a name.

    An axes is {box: [left, top, width, height] in parts of the figure, x and y: {from, to, log,
    label}, lines: [[name, [x, …], [y, …]], …]}. Of an axis that counts named places label is null.
    A point that is not finite is left out, and so is a line without a name.
    """
    shown = [_axes(axes) for axes in figure.axes]
    shown = [axes for axes in shown if axes["lines"]]
    return json.dumps(shown, ensure_ascii=False, separators=(",", ":")) if shown else ""


def _axes(axes: Axes) -> dict:
    left, bottom, width, height = axes.get_position().bounds
    lines = []
    for line, points in named_lines(axes).items():
        x, y = ([_short(value) for value in column] for column in points.T)
        lines.append([line.get_label(), x, y])
    return {
        "box": [round(part, 4) for part in (left, 1 - bottom - height, width, height)],
        "x": _axis(axes.xaxis, axes.get_xlim(), axes.get_shared_x_axes().get_siblings(axes)),
        "y": _axis(axes.yaxis, axes.get_ylim(), axes.get_shared_y_axes().get_siblings(axes)),
        "lines": lines,
    }


def _short(value: float) -> float:
    """A step or a number of parameters as it is, anything smaller to three digits."""
    return round(value) if abs(value) >= 1000 else float(f"{value:.3g}")


def _axis(axis: Axis, limits: tuple[float, float], siblings: list[Axes]) -> dict:
    """Panels that share an axis are labelled once, at the panel on the edge."""
    own = axis.get_label_text()
    theirs = [getattr(panel, f"get_{axis.axis_name}label")() for panel in siblings]
    places = isinstance(axis.get_major_locator(), FixedLocator)
    label = None if places else own or next(filter(None, theirs), "")
    low, high = (float(f"{limit:.6g}") for limit in limits)
    return {"from": low, "to": high, "log": axis.get_scale() == "log", "label": label}
