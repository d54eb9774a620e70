"""What the notebooks show: both languages, labelled, in the reader's numbers."""

import math
import re
from itertools import pairwise

import matplotlib.pyplot as plt
import pandas as pd
import pytest
from matplotlib.text import Text

from icl_core.encodings import VARIANTS
from icl_core.records import PROJECT
from icl_report import drawing, text
from icl_report.text import RUSSIAN


@pytest.fixture
def shown(monkeypatch):
    """What was displayed, as (object, metadata)."""
    outputs = []

    def display(what, metadata, raw=False):
        outputs.append((what, metadata))

    monkeypatch.setattr(text, "display", display)
    drawing.use_theme()
    return outputs


@pytest.fixture
def words(monkeypatch):
    """A glossary of three entries."""
    own = {"step": "шаг", "layer {}": "слой {}", "none": "без обоих"}
    monkeypatch.setattr(text, "glossary", lambda: own)


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
def test_numbers_are_in_the_reader_s_convention(value, ru, en):
    assert (text.number(value, "ru"), text.number(value, "en")) == (ru, en)


def test_say_emits_both_languages_labelled(shown):
    text.say(ru="ошибка {e}", en="error {e}", role="caption", e=0.5)
    assert [what.data for what, _ in shown] == ["ошибка 0,5", "error 0.5"]
    assert [about for _, about in shown] == [
        {"language": language, "role": "caption"} for language in ("ru", "en")
    ]


@pytest.mark.parametrize(
    "english, russian",
    [
        ("step", "шаг"),
        ("layer 12", "слой 12"),
        ("layer 1.5", "слой 1,5"),
        ("none, SPE + CM: layer 2", "без обоих, SPE + CM: слой 2"),
        ("b = 0.5", "b = 0,5"),
        (r"$\mathrm{step}_i$", r"$\mathrm{step}_i$"),
        ("LPE + CM", "LPE + CM"),
        ("", ""),
    ],
)
def test_labels_are_translated_by_the_glossary_whole_or_in_parts(words, english, russian):
    assert text.russian(english) == russian


def test_a_word_that_the_glossary_lacks_is_named(words):
    with pytest.raises(text.MissingWordError, match=r"^epoch$"):
        text.russian("none, epoch")


def test_no_word_is_in_the_glossary_twice():
    lines = (PROJECT / "icl_report/glossary.yaml").read_text(encoding="utf-8").splitlines()
    words = [line.rpartition(": ")[0] for line in lines if line and not line.startswith("#")]
    assert len(words) > 100 and sorted(words) == sorted(set(words))


def test_the_glossary_is_russian_and_each_number_has_its_place():
    for english, russian in text.glossary().items():
        is_name = english in russian.lower()  # torch: PyTorch
        assert re.search("[а-яё]", russian, re.I) or is_name, english
        assert english.count("{}") == russian.count("{}"), english


def test_a_table_is_one_output_with_its_russian_twin(shown, words):
    text.table(pd.DataFrame({"step": [0.25, 2.0], "b": ["none", "SPE"]}))
    ((data, about),) = shown
    assert about == {"role": "table"}
    assert [line.split() for line in data[RUSSIAN].splitlines()][::2] == [
        ["|", "шаг", "|", "b", "|"],
        ["|", "0,25", "|", "без", "обоих", "|"],
    ]
    assert "0.25" in data["text/markdown"] and "шаг" not in data["text/markdown"]


def draw(label="step"):
    figure, axes = plt.subplots()
    axes.plot([0, 1], [0, 0.5])
    axes.set(xlabel=label, title="layer 1, b = 5")
    axes.set_xticks([0, 1], ["none", "CM"])
    return figure


def spoken(svg):
    """The texts of Matplotlib's SVG, which it keeps beside their outlines."""
    return re.findall("<!-- (.*?) -->", svg)


def test_a_figure_is_one_output_with_its_russian_twin_and_the_same_each_time(shown, words):
    for _ in range(2):
        text.figure("line", draw(), extra={"application/json": {"x": 1}})
    (data, about), again = shown
    assert (data, about) == again and about == {"name": "line"}
    assert data["application/json"] == {"x": 1}
    assert {"step", "layer 1, b = 5", "none", "CM", "0.5"} <= {*spoken(data["image/svg+xml"])}
    assert {"шаг", "слой 1, b = 5", "без обоих", "CM", "0,5"} <= {*spoken(data[RUSSIAN])}
    assert not plt.get_fignums(), "figures are closed"
    assert not re.search(r"\d{4}-\d\d-\d\dT", data["image/svg+xml"]), "no dates"


def test_a_figure_is_shown_again_from_its_files(shown, tmp_path):
    (tmp_path / "figures").mkdir()
    for language in ("ru", "en"):
        (tmp_path / f"figures/line.{language}.svg").write_text(f"<svg>{language}</svg>")
    text.again("line", str(tmp_path))
    ((data, about),) = shown
    assert data == {"image/svg+xml": "<svg>en</svg>", RUSSIAN: "<svg>ru</svg>"}
    assert about == {"again": "line"}


def test_what_the_glossary_lacks_goes_along_with_the_output(shown, words):
    """The notebook shows its figure all the same; the page refuses it."""
    text.figure("line", draw("epoch"))
    text.table(pd.DataFrame({"width": ["deep", "none"]}))
    assert [about["missing"] for _, about in shown] == [["epoch"], ["deep", "width"]]


@pytest.mark.parametrize(
    "limits, expected",
    [
        ((0.012, 1.3), "0.02 0.05 0.1 0.2 0.5 1"),
        ((1e-4, 2e3), "0.0001 0.001 0.01 0.1 1 10 100 1\u202f000"),
    ],
)
def test_ticks_of_a_log_axis_are_plain_numbers(shown, limits, expected):
    figure, axes = plt.subplots()
    axes.set(yscale="log", ylim=limits, xticks=[])
    text.figure("log", figure)
    ((data, _),) = shown
    assert " ".join(spoken(data["image/svg+xml"])) == expected
    assert " ".join(spoken(data[RUSSIAN])) == expected.replace(".", ",")


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


def test_a_line_that_ends_out_of_sight_is_named_at_the_edge():
    figure, axes = plt.subplots(figsize=(6, 4))
    for name, end in (("above", 3.0), ("below", -1.0), ("seen", 0.5)):
        axes.plot([0, 1], [0.5, end], label=name)
    axes.set_ylim(0, 1)
    drawing.name_lines(axes)
    figure.canvas.draw()
    heights = {name.get_text(): Text.get_window_extent(name).y0 for name in axes.texts}
    edges = axes.get_window_extent()
    assert edges.y0 - 20 < heights["below"] < heights["seen"] < heights["above"] < edges.y1
    plt.close(figure)


def test_every_variant_has_its_own_look():
    """Colour and dash together tell variants apart; the mask alone decides the dash."""
    looks = {variant: tuple(drawing.style(variant).values()) for variant in VARIANTS}
    assert len(set(looks.values())) == len(VARIANTS)
    assert drawing.style("SPE")["color"] == drawing.style("SPE + CM")["color"]
    assert drawing.style("LPE + CM")["linestyle"] == drawing.style("CM")["linestyle"] == "-"


def test_a_reader_s_matplotlibrc_changes_no_byte(shown, words):
    """Neither a font that only some machines have, nor a grid, nor the size of a line."""
    text.figure("line", draw())
    with plt.rc_context({"font.family": "Arial", "axes.grid": True, "lines.linewidth": 9}):
        drawing.use_theme()
        text.figure("line", draw())
    assert shown[0] == shown[1]


def test_a_sentence_that_no_longer_holds_is_a_box(shown):
    text.say(ru="ошибка {e} мала", en="error {e} is small\n\nindeed", holds=False, e=2.5)
    (ru, about), (en, _) = shown
    assert ru.data == "> **Это утверждение больше не выполняется:** ошибка 2,5 мала"
    assert en.data == "> **This sentence no longer holds:** error 2.5 is small\n> \n> indeed"
    assert about == {"language": "ru", "role": "broken"}
