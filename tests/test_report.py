"""What the notebooks show: both languages, labelled, in the reader's numbers."""

import math
import re

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from icl_core import report
from icl_core.config import ABLATIONS
from icl_core.evaluation import FITTING_SOLVERS, REFERENCE_SOLVERS
from icl_core.verdicts import claim


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
        (3.2e-7, "3,2 · 10⁻⁷", "3.2 · 10⁻⁷"),
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


def test_every_variant_and_solver_has_its_own_look():
    """Colour and line together, and marker and line together, tell variants apart."""
    drawn = {name.partition(" (")[0] for names in ABLATIONS.values() for name in names}
    assert set(report.STYLE) == drawn
    assert set(report.SOLVERS) == set(REFERENCE_SOLVERS).union(*FITTING_SOLVERS.values())
    for key in ("color", "marker"):
        looks = {(style[key], style["linestyle"]) for style in report.STYLE.values()}
        assert len(looks) == len(report.STYLE)
    assert report.style("SPE + PM (random k)") == report.STYLE["SPE + PM"]


def test_effects_draw_open_and_certain_claims_alike():
    """A ratio with one seed has no interval, one that is not a ratio has no row."""
    values = pd.Series({(1, 0): 2.0, (1, 1): 2.1, (5, 0): 0.5}).rename_axis(["b", "seed"])
    claims = [
        claim("1", "E(SPE) / E(0)", values, above=1),
        claim("2", "E(CM) / E(SPE)", values, below=1),
        claim("5", "N", values, above=0, geometric=False),
    ]
    figure = report.draw_effects(pd.DataFrame(claims), lambda ru, en: en)
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        "1:  E(SPE) / E(0)",
        "2:  E(CM) / E(SPE)",
    ]
    assert [note.get_text() for note in axes.texts] == ["→", "←"]
    points = [line.get_xdata()[0] for line in axes.lines if line.get_marker() == "o"]
    assert points == pytest.approx([4.2**0.5, 0.5] * 2)
    plt.close(figure)


def test_a_verdict_table_states_its_threshold_in_both_languages(shown):
    values = pd.Series({(1, 0): 2.0, (1, 1): 2.1}).rename_axis(["b", "seed"])
    report.verdict_table(pd.DataFrame([claim("1", "E(SPE)", values, above=0.5)]))
    ru, en, ru_whole, en_whole = [what.data for what, _ in shown]
    assert "1: подтверждено" in ru_whole and "1: confirmed" in en_whole
    assert "> 0,5" in ru and "подтверждено" in ru and "> 0.5" in en and "confirmed" in en
