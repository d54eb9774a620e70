"""The models in the page are the recorded ones: their weights, their answers, in a real browser."""

import re
import shutil
from pathlib import Path

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest
import torch
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from icl_core import records, sampler, training
from icl_core.config import Config
from icl_core.evaluation import attention_maps, pair_hidden
from icl_core.model import LoopedTransformer
from icl_report import model_figure, text
from icl_report.model_figure import DIGITS, MIME, packed, telling
from icl_report.pages import build

VARIANTS = ("LPE + CM", "SPE + CM", "SPE", "CM")
ALPHA = """map => {
  const copy = new OffscreenCanvas(map.width, map.width).getContext("2d");
  copy.drawImage(map, 0, 0);
  return [...copy.getImageData(0, 0, map.width, map.width).data].filter((_, i) => i % 4 === 3);
}"""  # how opaque each cell of the attention map is
ALT = {"ru": "Ответы четырёх моделей", "en": "Answers of four models"}
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None,
    reason="the models are NOT tried in a browser: there is no chromium; "
    "apt-get install chromium, as root",
)


def unpacked(tensor):
    """A tensor as the page reads it."""
    base, places = len(DIGITS), tensor["places"]
    digits = np.array([DIGITS.index(digit) for digit in tensor["digits"]]).reshape(-1, places)
    levels = digits @ base ** np.arange(places)[::-1] - base**places // 2
    scale = np.nan if tensor["scale"] is None else tensor["scale"]
    return torch.from_numpy(scale * levels).view(tensor["shape"])


@pytest.fixture(scope="module")
def runs():
    """Four of the source's models."""
    found = [records.find_run(".", Config(variant=variant, seed=42)) for variant in VARIANTS]
    assert all(found)
    return found


@pytest.fixture(scope="module")
def prompt(runs):
    return sampler.evaluation_prompts(runs[0].config).first(1)


@pytest.fixture(scope="module")
def emitted(runs):
    """What explorer emits: (data by MIME type, metadata), once for both languages."""
    return emit(runs)


@pytest.fixture
def untrained(monkeypatch):
    """untrained(config) -> what looks like a recorded run; factor multiplies its weights."""

    def model_of(run):
        torch.manual_seed(0)
        model = LoopedTransformer(run.config)
        with torch.no_grad():
            for weights in model.parameters():
                weights *= run.provenance["factor"]
        return model

    def tensors(run, name):
        return {name: own.detach() for name, own in model_of(run).named_parameters()}

    monkeypatch.setattr(training, "recorded_model", model_of)
    monkeypatch.setattr(records.Run, "tensors", tensors)
    return lambda config, factor=1.0: records.Run(Path(), config, {"factor": factor})


def emit(runs):
    outputs = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text, "display", lambda data, raw, metadata: outputs.append((data, metadata)))
        model_figure.explorer("model", runs)
    (output,) = outputs
    return output


def write_pages(emitted, folder):
    """Its Russian and English pages, the figure with a caption in each language."""
    data, metadata = emitted
    captions = [
        new_markdown_cell(f"{alt}.\n<!-- alt: {alt} -->", metadata={"tags": [language, "caption"]})
        for language, alt in ALT.items()
    ]
    shown = new_output("display_data", data=data, metadata=metadata)
    cells = [new_markdown_cell("# Title"), new_code_cell("explorer()", outputs=[shown]), *captions]
    nbformat.write(new_notebook(cells=cells), folder / "a.ipynb")
    paths = build({"story": [folder / "a.ipynb"]}, folder)
    return {path.name.split(".")[1]: path for path in paths}


def test_a_tensor_comes_back_within_half_a_level():
    for shape in ((7, 300), (5, 4)):
        weights = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        tensor = packed(weights)
        assert len(tensor["digits"]) == tensor["places"] * weights.numel()
        assert (unpacked(tensor) - weights).abs().max() <= 0.5001 * tensor["scale"]
        assert tensor["scale"] < (3e-3 if weights.numel() > 1000 else 3e-5)
    assert (unpacked(packed(torch.zeros(3))) == 0).all()
    assert packed(torch.tensor([1.0, torch.nan]))["scale"] is None


def test_the_page_has_the_models_weights(runs, emitted):
    data = emitted[0][MIME]
    assert [own["name"] for own in data["models"]] == list(VARIANTS)
    assert [own["causal"] for own in data["models"]] == [True, True, False, True]
    for run, own in zip(runs, data["models"]):
        model = training.recorded_model(run)
        weights = dict(model.named_parameters())
        rows = model.encoding(torch.zeros(1, run.config.n_tokens, run.config.width))[0]
        expected = {n: w for n, w in weights.items() if not n.startswith("encoding")}
        expected |= {"rows": rows, "read_out.weight": model.read_out.weight[:1]}
        expected["read_out.bias"] = model.read_out.bias[:1]
        assert expected.keys() == own["tensors"].keys()
        for name, tensor in own["tensors"].items():
            assert list(expected[name].shape) == tensor["shape"]
            assert (unpacked(tensor) - expected[name]).abs().max() <= 0.501 * tensor["scale"], name


def test_one_output_serves_both_languages_and_is_the_same_again(runs, emitted):
    data, metadata = emitted
    assert metadata == {"name": "model"}  # no word is missing from the glossary
    assert set(data) == {"image/svg+xml", text.RUSSIAN, MIME}
    assert (
        sum(
            len(tensor["digits"])
            for own in data[MIME]["models"]
            for tensor in own["tensors"].values()
        )
        < 900_000
    )
    again, _ = emit(runs[2:3])
    assert again[MIME]["models"] == data[MIME]["models"][2:3]
    assert again[MIME]["prompt"] == data[MIME]["prompt"]


@pytest.mark.parametrize(
    "setup, variant",
    [
        ("", "RoPE + CM"),
        ("", "ALiBi"),
        ("", "PM"),
        ("+final-norm", "CM"),
        ("+first-iteration", "LPE"),
    ],
)
def test_a_model_that_the_page_cannot_compute_is_refused(setup, variant, untrained):
    run = untrained(Config(setup=f"smoke{setup}", variant=variant))
    with pytest.raises(ValueError, match="the page knows"):
        model_figure.model_of(run, sampler.evaluation_prompts(run.config).first(1))


def test_the_telling_head_is_the_one_that_pairs_or_copies():
    maps = torch.full((2, 3, 7, 7), 0.1)
    assert telling(maps) == (0, 0)
    maps[0, 2, [1, 3, 5], [0, 2, 4]] = 0.5
    assert telling(maps) == (0, 2)
    maps[1, 1, [0, 2, 4], [1, 3, 5]] = 0.6
    assert telling(maps) == (1, 1)
    maps[1, 1] = torch.nan
    telling(maps)


def test_the_still_picture_has_a_column_a_model(runs, prompt):
    figure = model_figure.still(runs, prompt)
    titles = [ax.get_title(loc="left") or ax.get_title() for ax in figure.axes[:4]]
    assert titles == [f"{variant}, seed 42" for variant in VARIANTS]
    for run, above, below in zip(runs, figure.axes, figure.axes[4:]):
        model = training.recorded_model(run)
        answers = model(prompt.tokens)[-1, 0].detach().numpy()
        drawn = above.lines[2].get_xydata().reshape(-1, 3, 2)[:, :2, 1].mean(1)
        np.testing.assert_allclose(drawn, answers, atol=1e-5)
        assert below.images[0].get_array().shape == (127, 127, 4)
    plt.close(figure)


@pytest.fixture(scope="module")
def pages(emitted, tmp_path_factory):
    return write_pages(emitted, tmp_path_factory.mktemp("page"))


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def visit(browser, pages):
    """visit("ru") -> the page, open and at rest; fails where the page complains of anything."""
    contexts, complaints = [], []

    def open_page(language, width=1280, path=None, **options):
        context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto((path or pages[language]).as_uri())
        if options.get("java_script_enabled", True):
            page.wait_for_function("document.querySelector('.explorer [aria-live]').textContent")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


def answers(page):
    """What the model in the page answers at each x_i, as its plot says, to two decimals."""
    return points(page)[:, 0]


def points(page):
    """(n, 2): answer and truth at each x_i."""
    titles = page.locator(".explorer title").all_text_contents()
    numbers = [re.findall(r"-?[\d.]+", t.replace("−", "-").replace(",", ".")) for t in titles]
    return np.array(numbers, dtype=float)


def said(page):
    return page.locator(".answers [aria-live]").inner_text()


@needs_chromium
@pytest.mark.parametrize("index", range(4), ids=VARIANTS)
def test_the_page_answers_as_the_recorded_model(visit, runs, prompt, index):
    """With the whole prompt, a planted answer, a hidden pair and fewer examples."""
    model, config = training.recorded_model(runs[index]), runs[index].config
    page, tokens = visit("en"), prompt.tokens.clone()
    near = dict(rtol=0, atol=0.01 * float(sampler.evaluation_prompts(config).answers.std()) + 0.005)

    def expect(tokens, hidden=False):
        n = tokens.shape[1]
        change = pair_hidden(config, [0])[..., :n, :n] if hidden else None
        expected = model(tokens, change=change)[-1, 0].detach().numpy()
        np.testing.assert_allclose(answers(page), expected, **near)
        return expected

    page.get_by_role("combobox", name="Model").select_option(VARIANTS[index])
    page.get_by_role("checkbox", name="Replace the answer").uncheck()
    query = expect(tokens)[-1]
    error = (query - float(prompt.answers[0, -1])) ** 2 / config.d
    shown = re.search(
        r"query with (\S+); the truth is (\S+)\. Squared error / d: (\S+);", said(page)
    )
    numbers = [float(number.replace("−", "-")) for number in shown.groups()]
    np.testing.assert_allclose(numbers, [query, prompt.answers[0, -1], error], atol=0.03, rtol=0.05)

    page.get_by_role("spinbutton").fill("20")
    page.get_by_role("slider", name="by").fill("7")
    tokens[0, 39, 0] = 7
    at_20 = expect(tokens)[19]
    assert ("it copied" in said(page)) == (abs(at_20 - 7) < abs(at_20 - prompt.answers[0, 19]))
    assert ("it copied" in said(page)) == (VARIANTS[index] == "SPE")
    page.get_by_role("checkbox", name="Replace the answer").uncheck()
    page.get_by_role("checkbox", name="In layer 1").check()
    expect(prompt.tokens, hidden=True)
    page.get_by_role("checkbox", name="In layer 1").uncheck()
    page.get_by_role("slider", name="Examples").fill("11")
    expect(prompt.tokens[:, :23])
    assert said(page).startswith("With k = 11 ")


@needs_chromium
def test_the_map_is_the_chosen_heads(visit, runs, prompt):
    page = visit("en")
    maps = attention_maps(training.recorded_model(runs[0]), prompt.tokens)[-1, :, 0].numpy()
    first = np.array(page.locator("canvas").evaluate(ALPHA)).reshape(16, 16)  # eight examples
    page.get_by_role("checkbox", name="First 8").uncheck()
    whole = np.array(page.locator("canvas").evaluate(ALPHA)).reshape(127, 127)
    np.testing.assert_array_equal(first, whole[:16, :16])
    page.get_by_role("checkbox", name="Replace the answer").uncheck()
    for layer, head in ((0, 0), (0, 2), (1, 3)):
        page.get_by_role("combobox", name="Layer").select_option(str(layer + 1))
        page.get_by_role("combobox", name="Head").select_option(str(head + 1))
        alpha = page.locator("canvas").evaluate(ALPHA)
        seen = np.tril_indices(127)
        shown = (np.array(alpha).reshape(127, 127) / 255) ** 2
        np.testing.assert_allclose(shown[seen], maps[layer, head][seen], atol=0.01)
        pair = np.diagonal(maps[layer, head], -1)[::2].mean()
        told = page.locator(".looks [aria-live]").inner_text()
        assert abs(float(re.search(r"xi (\S+),", told)[1]) - pair) < 0.006


@needs_chromium
def test_the_telling_head_is_shown_first(visit, emitted):
    page = visit("en")
    for own in emitted[0][MIME]["models"]:
        page.get_by_role("combobox", name="Model").select_option(own["name"])
        boxes = [page.get_by_role("combobox", name=name) for name in ("Layer", "Head")]
        assert [int(box.input_value()) - 1 for box in boxes] == list(own["start"])


@needs_chromium
def test_a_new_function_is_drawn_and_answered(visit):
    page = visit("ru")
    before = answers(page)
    page.get_by_role("checkbox", name="Подменить").uncheck()
    page.get_by_role("button", name="Новая функция").click()
    assert (answers(page) != before).sum() > 60
    page.get_by_role("combobox", name="Модель").select_option("SPE")
    copied, truth = points(page)[:-1].T
    assert np.abs(copied - truth).max() < 0.5 and truth.std() > 0.5


@needs_chromium
def test_a_keyboard_reaches_and_moves_every_control(visit):
    page = visit("ru", width=390)
    page.get_by_role("combobox", name="Модель").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowLeft")
    assert said(page).startswith("При k = 62 ")
    page.keyboard.press("Tab")
    before = said(page)
    page.keyboard.press("Enter")
    assert said(page) != before
    page.keyboard.press("Tab")
    assert "В примере 32 " in said(page)  # an answer is replaced from the start
    page.keyboard.press("Space")
    assert "В примере" not in said(page)
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowUp")
    assert "В примере 33 " in said(page)
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowLeft")
    assert " стоит 7;" in said(page)
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    assert page.get_by_role("checkbox", name="В слое 1").is_checked()
    assert page.locator(".looks [aria-live]").inner_text().count(" 0") == 2  # nothing in a pair
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowDown")
    assert page.get_by_role("combobox", name="Слой").input_value() == "2"


@needs_chromium
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_telephone_and_takes_the_pictures_place(visit, scheme):
    page = visit("ru", width=390, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert page.locator(".explorer").is_visible() and not page.locator(".picture").is_visible()
    assert page.locator(".explorer [style]").count() == 0
    page.emulate_media(media="print")
    assert page.locator(".picture img").is_visible() and not page.locator(".explorer").is_visible()


@needs_chromium
def test_with_scripts_off_the_picture_stays(visit):
    for language, alt in ALT.items():
        page = visit(language, java_script_enabled=False)
        assert page.get_by_role("img", name=alt).is_visible()
        assert page.locator(".explorer").count() == 0


@needs_chromium
def test_a_diverged_model_breaks_nothing(visit, tiny, untrained, tmp_path):
    made = [untrained(tiny(variant="CM"), torch.nan), untrained(tiny(variant="LPE", b=2))]
    page = visit("en", path=write_pages(emit(made), tmp_path)["en"])
    assert said(page) == "This model diverged in training."
    page.get_by_role("checkbox", name="Replace the answer").check()
    page.get_by_role("checkbox", name="Replace the answer").uncheck()
    page.get_by_role("combobox", name="Model").select_option("LPE, b = 2")
    prompt = sampler.evaluation_prompts(made[1].config).first(1)
    expected = training.recorded_model(made[1])(prompt.tokens)[-1, 0].detach().numpy()
    np.testing.assert_allclose(answers(page), expected, atol=0.006)
