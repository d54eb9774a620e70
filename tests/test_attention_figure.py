"""The figure to play with shows the attention of recorded runs, as a picture and in a browser."""

import re
import shutil
from itertools import product

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest
import torch
from IPython.core.formatters import DisplayFormatter
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from icl_core import evaluation, sampler, training
from icl_report import attention_figure, report
from icl_report.attention_figure import MIME, SHOWN, condense, decoded, quantise, token_names
from icl_report.pages import build_pages

WORDS = {
    "ru": {"alt": "Карты внимания", "caption": "Запуски {runs}; слой {layer}"},
    "en": {"alt": "Attention maps", "caption": "Runs {runs}; {b} {loop} {layer} {head}"},
}
LONG = SHOWN + 2  # more examples than have columns of their own


@pytest.fixture(scope="module")
def runs(tiny, tmp_path_factory):
    """Recorded runs of two variants at two b, of b = 1 with two seeds, and half of another."""
    out = str(tmp_path_factory.mktemp("attention"))
    short = dict(n_examples=LONG, steps=10, lr=0.03)
    short |= dict(random_numbers="numpy", curve_prompts=16, evaluation_prompts=32)
    places = [(1, 4), (1, 3), (3, 5)]
    configs = [
        tiny(variant=variant, b=b, seed=seed, **short)
        for variant in ("CM", "LPE")
        for b, seed in places
    ]
    configs.append(tiny(variant="CM", b=1, seed=2, **short))
    return [training.run(config, out) for config in configs]


@pytest.fixture(scope="module")
def prompt(runs):
    return sampler.evaluation_prompts(runs[0].config).first(1)


@pytest.fixture(scope="module")
def data(runs, prompt):
    return attention_figure.explorable(runs, prompt)


@pytest.fixture(scope="module")
def outputs(runs, prompt):
    """What explorer emits, as (data by mime type, metadata)."""
    emitted, bundle = [], DisplayFormatter().format
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            report, "display", lambda what, metadata: emitted.append((bundle(what)[0], metadata))
        )
        attention_figure.explorer("attention", runs, prompt, **WORDS)
    return emitted


def test_the_pages_numbers_are_the_recorded_runs_attention(runs, prompt, data):
    """Of the smallest seed with every variant, cell by cell, to the fineness of the bytes."""
    assert [(run["b"], run["seed"]) for run in data["runs"]] == [(1, 3), (3, 5)]
    for (i, own), variant in product(enumerate((runs[1], runs[2])), (0, 1)):
        model = training.recorded_model(runs[runs.index(own) + 3 * variant])
        whole = evaluation.attention_maps(model, prompt.tokens)[:, :, 0].numpy()
        shown = decoded(data, i).numpy()
        n = 2 * SHOWN
        assert shown.shape == (own.config.b, 2, 2, 2, n + 1, n + 2)
        shown = shown[:, :, variant]
        rows = whole[..., [*range(n), -1], :]
        expected = np.concatenate([rows[..., :n], rows[..., n:-1].sum(-1)[..., None]], axis=-1)
        fineness = np.sqrt(expected) / 254 + 1e-5  # half a step of the root, squared
        assert (np.abs(shown[..., :-1] - expected) <= fineness).all()
        np.testing.assert_allclose(shown[..., -1], rows[..., -1], atol=0.003)
        np.testing.assert_allclose(shown.sum(-1), 1, atol=0.02)
        leak = np.array(data["runs"][i]["leak"])[:, :, variant]
        to_own_answer = [whole[..., 2 * k, 2 * k + 1] for k in range(LONG)]
        np.testing.assert_allclose(leak, np.mean(to_own_answer, axis=0), atol=5.1e-5)


def test_variants_without_a_common_run_are_refused(runs):
    with pytest.raises(ValueError, match=r"no .* run of every variant: CM, LPE"):
        attention_figure.first_of_each_b([runs[0], runs[4]])


def test_condensed_rows_still_sum_to_one():
    """With other examples, with none, with a single one of all."""
    for n_examples, n_columns in ((LONG, 2 * SHOWN + 2), (SHOWN, 2 * SHOWN + 1), (1, 3)):
        maps = torch.rand(2, 2 * n_examples + 1, 2 * n_examples + 1).softmax(-1)
        rows, columns = token_names(n_examples)
        condensed = condense(maps)
        assert condensed.shape == (2, len(rows), n_columns) and len(columns) == n_columns
        torch.testing.assert_close(condensed.sum(-1), torch.ones(condensed.shape[:-1]))
        assert ("…" in columns) == (n_examples > SHOWN)
        assert rows[:3] == columns[:3] == ["x_1", "y_1", "x_2" if n_examples > 1 else "x_q"]
        torch.testing.assert_close(condensed[:, -1, -1], maps[:, -1, -1])


def test_a_quantised_weight_is_near_and_nan_stays_nan():
    weights = torch.linspace(0, 1, 1001)
    back = (quantise(weights).float() / 254) ** 2
    assert (back - weights).abs().max() < 0.004 and (back - weights)[:10].abs().max() < 5e-4
    assert quantise(torch.tensor([0.0, 1.0, torch.nan])).tolist() == [0, 254, 255]


def test_the_figure_starts_where_the_leak_is_largest(data):
    variant, loop, layer, head = data["start"]
    leaks = np.array(data["runs"][0]["leak"])
    assert leaks[loop, layer, variant, head] == leaks.max() > 0
    assert data["variants"][variant] == {"name": "LPE", "causal": False}
    assert (leaks[:, :, 0] == 0).all() and data["variants"][0]["causal"]


def test_a_diverged_run_has_no_numbers_and_is_drawn_all_the_same(runs, prompt, monkeypatch):
    def diverged(run):
        model = recorded_model(run)
        with torch.no_grad():
            if run.config.variant == "LPE":
                model.read_in.weight.fill_(torch.nan)
        return model

    recorded_model = training.recorded_model
    monkeypatch.setattr(training, "recorded_model", diverged)
    data = attention_figure.explorable([runs[1], runs[4]], prompt)
    maps = decoded(data, 0)
    assert maps[:, :, 1].isnan().all() and not maps[:, :, 0].isnan().any()
    assert data["runs"][0]["leak"][0][0] == [[0, 0], [None, None]] and data["start"] == [0, 0, 0, 0]
    plt.close(attention_figure.draw_maps(maps[0, 0, :, 0], data, lambda ru, en: en))


def test_the_still_picture_marks_each_own_answer(data):
    maps = decoded(data, 0)[0, 0, :, 0]
    figure = attention_figure.draw_maps(maps, data, lambda ru, en: ru)
    assert [ax.get_title() for ax in figure.axes[:2]] == ["CM", "LPE"]
    for ax, own in zip(figure.axes, maps):
        np.testing.assert_array_equal(ax.images[0].get_array(), own)
        marked = [tuple(place) for place in ax.collections[0].get_offsets()]
        assert marked == [(2 * i + 1, 2 * i) for i in range(SHOWN)]  # (column, row)
        assert ax.get_xlabel()
    assert figure.axes[0].get_ylabel() and "0,25" in [
        tick.get_text() for tick in figure.axes[2].get_yticklabels()
    ]
    plt.close(figure)


def test_both_languages_carry_a_picture_and_the_maps(outputs, data):
    pictures = [output for output in outputs if "name" in output[1]]
    assert [metadata["language"] for _, metadata in pictures] == ["ru", "en"]
    for bundle, metadata in pictures:
        assert bundle["image/svg+xml"].startswith("<svg") and bundle[MIME] == data
        assert metadata["alt"] == WORDS[metadata["language"]]["alt"]
    _, loop, layer, head = data["start"]
    place = f"1 {loop + 1} {layer + 1} {head + 1}"
    assert pictures[1][1]["caption"] == f"Runs b = 1, seed 3; b = 3, seed 5; {place}"
    assert pictures[0][1]["caption"].startswith("Запуски b = 1, зерно 3; b = 3, зерно 5;")


def test_the_same_runs_give_the_same_bytes(outputs, runs, prompt, data, monkeypatch):
    again = []
    monkeypatch.setattr(report, "display", lambda what, metadata: again.append(what.data))
    attention_figure.explorer("attention", runs, prompt, **WORDS)
    assert again[0] == outputs[0][0]["image/svg+xml"] and outputs[0][0][MIME] == data


@pytest.fixture(scope="module")
def pages(outputs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    cells = [new_markdown_cell("# Title")]
    shown = [new_output("display_data", data=d, metadata=m) for d, m in outputs]
    cells.append(new_code_cell("explorer()", outputs=shown, execution_count=1))
    nbformat.write(new_notebook(cells=cells), folder / "a.ipynb")
    ru, en = build_pages([folder / "a.ipynb"], folder)
    return {"ru": ru, "en": en}


def test_without_scripts_the_page_has_the_still_picture(pages):
    for language, path in pages.items():
        page = path.read_text(encoding="utf-8")
        (figure,) = re.findall(r'(?s)<figure class="attention".*?</figure>', page)
        assert f'alt="{WORDS[language]["alt"]}"' in figure and "<figcaption>" in figure


@pytest.fixture(scope="module")
def browser():
    """Debian's package chromium, or Chrome."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="the figure's controls are not tried: no playwright"
    )
    found = [shutil.which(name) for name in ("chromium", "google-chrome", "chrome")]
    if not any(found):
        pytest.skip("the figure's controls are not tried: there is no chromium here")
    with playwright.sync_playwright() as started:
        path = next(filter(None, found))
        browser = started.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def visit(browser, pages):
    """visit("ru") -> the page, open; fails where the page complains of anything."""
    contexts, complaints = [], []

    def open_page(language, **options):
        context = browser.new_context(viewport={"width": 390, "height": 800}, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(pages[language].as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


def choose(page, group, option):
    box = page.get_by_role("group", name=group, exact=True)
    box.get_by_role("radio", name=option, exact=True).check()


def cells(page):
    labels = page.get_by_role("gridcell").evaluate_all(
        "cells => cells.map(cell => cell.getAttribute('aria-label'))"
    )
    return [label.rpartition(": ")[::2] for label in labels]


def test_it_shows_the_weights_of_what_is_chosen(visit, data):
    page = visit("en")
    maps = decoded(data, 1)[2, 1, 1]  # b = 3, its last iteration, layer 2, LPE
    for group, option in [("Variant", "LPE"), ("b", "3"), ("Loop iteration", "3")]:
        choose(page, group, option)
    choose(page, "Layer", "2")
    for option, expected in [("2", maps[1]), ("mean", maps.mean(0))]:
        choose(page, "Head", option)
        shown = [float(weight.removeprefix("< ")) for _, weight in cells(page)]
        np.testing.assert_allclose(shown, expected.flatten(), atol=0.0051)
    leak = np.mean(data["runs"][1]["leak"][2][1][1])
    summary = page.locator(".summary").inner_text()
    assert summary.startswith("LPE, b = 3, loop iteration 3, layer 2, mean over heads: ")
    assert float(re.search(r"answer yi ([\d.]+) of", summary)[1]) == pytest.approx(leak, abs=6e-4)


def test_the_marked_cells_are_the_own_answers(visit):
    page = visit("ru")
    marked = page.locator("[role=gridcell].own").evaluate_all(
        "cells => cells.map(cell => cell.getAttribute('aria-label').split(':')[0])"
    )
    assert marked == [f"x {i} → y {i}" for i in range(1, SHOWN + 1)]


def test_a_smaller_b_has_fewer_iterations_and_the_mask_is_named(visit):
    page = visit("ru")
    choose(page, "b", "3")
    choose(page, "Итерация цикла", "3")
    choose(page, "b", "1")
    choose(page, "Вариант", "CM")
    iterations = page.get_by_role("group", name="Итерация цикла").get_by_role("radio")
    assert iterations.count() == 1 and iterations.first.is_checked()
    summary = page.locator(".summary").inner_text()
    assert summary.startswith("CM, b = 1, итерация цикла 1,") and "маска" in summary


def test_the_arrow_keys_walk_the_cells_and_read_them_out(visit):
    page = visit("ru")
    page.get_by_role("group", name="Голова").locator(":checked").focus()
    page.keyboard.press("Tab")
    for key in ("ArrowRight", "ArrowDown", "ArrowDown", "ArrowRight", "ArrowRight", "ArrowUp"):
        page.keyboard.press(key)
    text = page.locator(".read-out").inner_text()
    where, weight = cells(page)[1 * (2 * SHOWN + 2) + 3]
    assert (where, text) == ("y 1 → y 2", f"y1 → y2: {weight}")
    assert re.fullmatch(r"(< )?0(,\d+)?|1", weight), "a decimal comma"
    page.get_by_role("gridcell").first.hover()
    assert page.locator(".read-out").inner_text().startswith("x1 → x1: ")


def test_it_fits_a_telephone_and_takes_the_pictures_place(visit):
    page = visit("en")
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert page.locator(".explorer").is_visible()
    assert not page.locator(".picture").is_visible()


def test_with_scripts_off_the_picture_stays(visit):
    page = visit("en", java_script_enabled=False)
    assert page.locator(".picture img").is_visible()
    assert page.locator(".explorer").count() == 0
