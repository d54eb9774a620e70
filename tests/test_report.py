"""What the notebooks show: both languages, labelled, in the reader's numbers."""

import math
import re
from itertools import pairwise

import matplotlib.pyplot as plt
import nbformat
import pandas as pd
import pytest
from matplotlib.text import Text
from nbformat.v4 import new_code_cell, new_notebook, new_output

from icl_report import drawing, report
from icl_report.config import ABLATIONS
from icl_report.evaluation import FITTING_SOLVERS, REFERENCE_SOLVERS
from icl_report.verdicts import claim


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
        (3.2e-7, "3,2 · 10⁻⁷", "3.2 · 10⁻⁷"),
        (math.nan, "—", "—"),
        (math.inf, "∞", "∞"),
        ("text", "text", "text"),
    ],
)
def test_number(value, ru, en):
    assert (report.number(value, "ru"), report.number(value, "en")) == (ru, en)


@pytest.mark.parametrize(
    "value, words",
    [(1.003, "1.003"), (0.997, "0.997"), (1, "1"), (1.0000001, "1"), (0.36, "0.36"), (7.61, "7.6")],
)
def test_a_number_is_told_from_its_threshold(value, words):
    assert report.beside(value, 1, "en") == words


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


def test_every_variant_and_solver_has_its_own_look():
    """Colour and line together, and marker and line together, tell variants apart."""
    drawn = {name.partition(" (")[0] for names in ABLATIONS.values() for name in names}
    assert set(drawing.STYLE) == drawn
    assert set(drawing.SOLVERS) == set(REFERENCE_SOLVERS).union(*FITTING_SOLVERS.values())
    for key in ("color", "marker"):
        looks = {(style[key], style["linestyle"]) for style in drawing.STYLE.values()}
        assert len(looks) == len(drawing.STYLE)
    assert drawing.style("SPE + PM (random k)") == drawing.STYLE["SPE + PM"]


def test_effects_draw_open_and_certain_claims_alike():
    """A ratio with one seed has no interval, one that is not a ratio has no row."""
    values = pd.Series({(1, 0): 2.0, (1, 1): 2.1, (5, 0): 0.5}).rename_axis(["b", "seed"])
    claims = [
        claim("1", "E(SPE) / E(0)", values, above=1),
        claim("2", "E(CM) / E(SPE)", values, below=1),
        claim("5", "N", values, above=0, geometric=False),
    ]
    figure = drawing.draw_effects(pd.DataFrame(claims), lambda ru, en: en)
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        "1:  E(SPE) / E(0)",
        "2:  E(CM) / E(SPE)",
    ]
    assert [note.get_text() for note in axes.texts] == ["→", "←"]
    points = [line.get_xdata()[0] for line in axes.lines if line.get_marker() == "o"]
    assert points == pytest.approx([4.2**0.5, 0.5] * 2)
    plt.close(figure)


def results():
    """One point that is confirmed and one that is not, the second by its second row alone."""
    values = pd.Series({(1, 0): 2.0, (1, 1): 2.1, (1, 2): 2.2}).rename_axis(["b", "seed"])
    few = values.iloc[:1]
    return pd.DataFrame(
        [
            claim("1", "E(SPE)", values, above=0.5),
            claim("2", "E(CM)", few, below=1),
            claim("2", "E(LPE)", values, below=1),
        ]
    )


STATEMENTS = {"1": ("плохо", "bad"), "2": ("хорошо", "good")}


def test_verdicts_state_thresholds_and_points_as_a_whole_in_both_languages(shown):
    report.verdicts(results(), STATEMENTS)
    ru, en, *_, ru_whole, en_whole = [what.data for what, _ in shown]
    assert ">\u00a00,5" in ru and "подтверждено" in ru
    assert ">\u00a00.5" in en and "confirmed" in en
    cells = [[cell.strip() for cell in row.split("|")[1:-1]] for row in en_whole.splitlines()[2:]]
    assert cells == [["1", "bad", "confirmed"], ["2", "good", "not confirmed"]]
    assert "плохо" in ru_whole and "не подтверждено" in ru_whole
    assert re.search(r"\| E\(LPE\) .* 0 / 3 +\| not confirmed", en), "seeds on the claimed side"


def test_statuses_are_listed_in_both_languages():
    words = report.listed({"10": "open", "A": "not confirmed"})
    assert words == {"ru": "10: открыто, A: не подтверждено", "en": "10: open, A: not confirmed"}


def test_verdicts_can_be_read_from_the_executed_notebook(shown, tmp_path):
    report.verdicts(results(), STATEMENTS)
    outputs = [new_output("display_data", data={}, metadata=metadata) for _, metadata in shown]
    path = tmp_path / "executed.ipynb"
    nbformat.write(new_notebook(cells=[new_code_cell(outputs=outputs)]), path)
    one, two = report.verdicts_of(path)
    assert (one["point"], one["claim"]["en"], one["status"]) == ("1", "bad", "confirmed")
    assert two["quantity"] == "E(LPE)", "the row that decides, not the first"
    assert two["low"] < two["value"] < two["high"]
    counts = [(own["confirmed"], own["parts"], own["seeds"]) for own in (one, two)]
    assert counts == [(1, 1, 3), (0, 2, 1)], "the least number of seeds behind any part"


def test_an_open_verdict_without_an_interval_is_stored_as_json_has_it(shown):
    report.verdicts(results().iloc[:2], STATEMENTS)
    certain, unsure = shown[-1][1]["points"]
    assert certain["low"] > 0.5
    assert (unsure["status"], unsure["value"], unsure["low"]) == ("open", pytest.approx(2), None)


def test_names_stand_with_their_numbers_in_both_languages():
    values = pd.Series({"CM": 0.5, "SPE": math.nan})
    assert report.named(values) == {"ru": "CM 0,5, SPE —", "en": "CM 0.5, SPE —"}


def test_means_by_b_put_the_best_first_and_a_diverged_variant_last(shown):
    rows = [(1, 0, "A", 1.0), (1, 1, "A", math.nan), (1, 0, "B", 4.0), (1, 1, "B", 1.0)]
    full = pd.DataFrame(rows, columns=["b", "seed", "variant", "error"])
    means = report.means_by_b(full, ru={"error": "ошибка"}, en={"error": "error"})
    assert means.variant.tolist() == ["B", "A"]
    assert means.error.iloc[0] == 2.0 and math.isnan(means.error.iloc[1])
    assert means.runs.tolist() == [2, 2] and "—" in shown[0][0].data
