"""What the notebooks show: both languages, labelled, in the reader's numbers."""

import math
import re
from itertools import pairwise

import matplotlib.pyplot as plt
import pandas as pd
import pytest
from matplotlib.text import Text

from icl_core.encodings import VARIANTS
from icl_report import drawing, report


@pytest.fixture
def shown(monkeypatch):
    """What was displayed, as (object, metadata)."""
    outputs = []
    monkeypatch.setattr(report, "display", lambda what, metadata: outputs.append((what, metadata)))
    return outputs


@pytest.mark.parametrize(
    "value, ru, en",
    [
        (0.1234, "0,123", "0.123"),
        (-2.5, "−2,5", "−2.5"),
        (-3.0, "−3", "−3"),
        (10_000, "10\u202f000", "10\u202f000"),
        (12_345, "12\u202f345", "12\u202f345"),
        (1234.56, "1\u202f230", "1\u202f230"),
        (999.9, "1\u202f000", "1\u202f000"),
        (3.2e-7, "3,2\u00a0·\u00a010⁻⁷", "3.2\u00a0·\u00a010⁻⁷"),
        (math.nan, "—", "—"),
        (math.inf, "∞", "∞"),
        ("text", "text", "text"),
    ],
)
def test_number(value, ru, en):
    assert (report.number(value, "ru"), report.number(value, "en")) == (ru, en)


def test_say_emits_both_languages_labelled(shown):
    report.say(ru="ошибка {e} у {who}", en="error {e} of {who}", e=0.5, who={"ru": "А", "en": "B"})
    assert [what.data for what, _ in shown] == ["ошибка 0,5 у А", "error 0.5 of B"]
    assert [metadata["language"] for _, metadata in shown] == ["ru", "en"]


def test_table_keeps_order_and_translates(shown):
    frame = pd.DataFrame({"x": [0.25, 2.0], "y": [{"ru": "да", "en": "yes"}, "z"]})
    report.table(frame, ru={"y": "игрек", "x": "икс"}, en={"y": "Y", "x": "X"})
    (ru, _), (en, _) = shown
    assert [line.split() for line in ru.data.splitlines()][::2] == [
        ["|", "игрек", "|", "икс", "|"],
        ["|", "да", "|", "0,25", "|"],
    ]
    assert "yes" in en.data and "0.25" in en.data and "да" not in en.data


def draw(t):
    figure, axes = plt.subplots()
    axes.plot([0, 1], [0, 0.5])
    axes.set_xlabel(t("шаг", "step"))
    return figure


def test_figure_comes_in_both_languages_and_the_same_each_time(shown):
    words = {"alt": "a line", "caption": "A line."}
    for _ in range(2):
        report.figure("line", draw, ru=words, en=words)
    ru, en, *again = [what.data for what, about in shown if "name" in about]
    assert [ru, en] == again and ru != en
    assert shown[0][1] == {"language": "ru", "name": "line", **words}
    assert not plt.get_fignums(), "figures are closed"
    assert not re.search(r"\d{4}-\d\d-\d\dT", en), "no dates"


@pytest.mark.parametrize(
    "limits, expected",
    [
        ((0.012, 1.3), "0.02 0.05 0.1 0.2 0.5 1"),
        ((1e-4, 2e3), "0.0001 0.001 0.01 0.1 1 10 100 1\u202f000"),
    ],
)
def test_ticks_of_a_log_axis_are_plain_numbers(shown, limits, expected):
    figures = []

    def draw(t):
        figure, axes = plt.subplots()
        axes.set(yscale="log", ylim=limits)
        figures.append(figure)
        return figure

    report.figure("log", draw, ru={"alt": "", "caption": ""}, en={"alt": "", "caption": ""})
    for figure, words in zip(figures, (expected.replace(".", ","), expected)):
        axis = figure.axes[0].yaxis
        inside = [tick for tick in axis.get_majorticklocs() if limits[0] <= tick <= limits[1]]
        assert " ".join(axis.get_major_formatter().format_ticks(inside)) == words


def test_lines_are_named_at_their_ends_and_no_names_overlap():
    figure, axes = plt.subplots(figsize=(6, 4))
    for name, end in (("a", 1.0), ("b", 0.02), ("c", 1.01), ("lost", math.nan), ("d", 0.99)):
        axes.plot([0, 1], [1.2, end], label=name)
    axes.plot([0, 1], [0.5, 0.5])  # has no name
    axes.set_yscale("log")
    drawing.name_lines(axes)
    figure.canvas.draw()
    boxes = {name.get_text(): Text.get_window_extent(name) for name in axes.texts}  # no arrows
    upwards = sorted(boxes, key=lambda name: boxes[name].y0)
    assert upwards == ["b", "d", "a", "c", "lost"]
    assert all(boxes[below].y1 <= boxes[above].y0 for below, above in pairwise(upwards))
    plt.close(figure)


def test_every_variant_has_its_own_look():
    """Colour and dash together tell variants apart; the mask alone decides the dash."""
    looks = {variant: tuple(drawing.style(variant).values()) for variant in VARIANTS}
    assert len(set(looks.values())) == len(VARIANTS)
    assert drawing.style("SPE")["color"] == drawing.style("SPE + CM")["color"]
    assert drawing.style("LPE + CM")["linestyle"] == drawing.style("CM")["linestyle"] == "-"


def test_a_reader_s_matplotlibrc_changes_no_byte(shown):
    """Neither a font that only some machines have, nor a grid, nor the size of a line."""
    words = {"alt": "a line", "caption": "A line."}
    report.figure("line", draw, ru=words, en=words)
    with plt.rc_context({"font.family": "Arial", "axes.grid": True, "lines.linewidth": 9}):
        report.figure("line", draw, ru=words, en=words)
        assert plt.rcParams["axes.grid"]
    first, *_, again = [what.data for what, about in shown if about.get("language") == "ru"][::2]
    assert first == again


def test_a_sentence_that_no_longer_holds_is_a_box(shown):
    report.say(ru="ошибка {e} мала", en="error {e} is small\n\nindeed", holds=False, e=2.5)
    (ru, about), (en, _) = shown
    assert ru.data == "> **Это утверждение больше не выполняется:** ошибка 2,5 мала"
    assert en.data == "> **This sentence no longer holds:** error 2.5 is small\n> \n> indeed"
    assert about == {"language": "ru", "role": "broken"}
