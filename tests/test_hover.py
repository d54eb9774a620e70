"""The numbers behind a figure are those that were drawn, where they were drawn."""

import json
import math

import matplotlib.pyplot as plt
import pytest

from icl_report.hover import points_of


@pytest.fixture
def panels():
    """Two panels with a common log axis; the right one counts named places."""
    figure, (left, right) = plt.subplots(1, 2, sharey=True, layout="constrained")
    left.plot([0, 100], [0.5, 0.012345], label="SPE")
    left.plot([0, 10_123], [math.nan, 2.0], label="CM")
    left.plot([0, 1], [1, 1])  # without a name
    left.set(yscale="log", xlabel="step", ylabel="error")
    right.plot([0.1], [0.5], "o", label="SPE, b = 1, seed 0")
    right.set_xticks([0, 1], ["SPE", "CM"])
    figure.draw_without_rendering()
    yield figure
    plt.close(figure)


def test_points_and_labels(panels):
    left, right = json.loads(points_of(panels))
    assert left["lines"] == [["SPE", [0, 100], [0.5, 0.0123]], ["CM", [10_123], [2]]]
    assert (left["x"]["label"], left["y"]["label"]) == ("step", "error")
    assert (left["x"]["log"], left["y"]["log"]) == (False, True)
    assert right["lines"] == [["SPE, b = 1, seed 0", [0.1], [0.5]]]
    assert right["x"]["label"] is None, "a place among names is no number"
    assert right["y"]["label"] == "error", "labelled once for both panels"


def test_a_point_is_where_it_was_drawn(panels):
    """box, limits and scale give back the pixel that matplotlib draws the point at."""
    axes = json.loads(points_of(panels))[0]
    at_left, top, width, height = axes["box"]
    low, high = math.log(axes["y"]["from"]), math.log(axes["y"]["to"])
    x = at_left + width * (100 - axes["x"]["from"]) / (axes["x"]["to"] - axes["x"]["from"])
    y = top + height * (1 - (math.log(0.012345) - low) / (high - low))
    size = panels.get_size_inches() * panels.dpi
    drawn_x, drawn_y = panels.axes[0].transData.transform((100, 0.012345)) / size
    assert (x, y) == pytest.approx((drawn_x, 1 - drawn_y), abs=2e-4)


def test_a_figure_without_named_lines_has_none():
    figure, axes = plt.subplots()
    axes.imshow([[0, 1]])
    assert points_of(figure) == ""
    plt.close(figure)
