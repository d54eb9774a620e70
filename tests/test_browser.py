"""Both committed pages in a real browser: they fit, ask nobody, lead where they say, and print."""

import os
import re
import shutil

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect, sync_playwright

from icl_core.records import PROJECT

NAMES = sorted({path.name.split(".")[0] for path in PROJECT.glob("report/*.html")})
PAGES = {f"{n}.{own}": PROJECT / f"report/{n}.{own}.html" for n in NAMES for own in ("ru", "en")}
OTHER = {"ru": "en", "en": "ru"}
WIDTHS = (390, 1280, 1920)
HEIGHT = 900
PRINTED = (604, 948)  # px: what A4 leaves between the page's margins
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)

pytestmark = pytest.mark.skipif(
    CHROMIUM is None,
    reason="the pages are NOT tested in a browser: there is no chromium; "
    "apt-get install chromium, as root",
)

# Goes to each link of the contents in turn; gives those whose target is neither at the screen's top
# nor, at the page's end, in sight, or that are not marked as where the reader is.
LAND = """async () => {
  const missed = [];
  const frame = () => new Promise(requestAnimationFrame);
  const top = parseFloat(getComputedStyle(document.documentElement).scrollPaddingTop);
  for (const link of document.querySelectorAll("#contents a")) {
    location.hash = link.hash;
    for (let i = 0; i < 10 && !link.ariaCurrent; i++) await frame();
    const target = document.getElementById(decodeURIComponent(link.hash.slice(1)));
    const off = Math.abs(target.getBoundingClientRect().top - top);
    const end = scrollY + innerHeight > document.documentElement.scrollHeight - 2;
    const marked = link.ariaCurrent && document.querySelectorAll("[aria-current]").length === 1;
    if (!marked || off > (end ? innerHeight / 2 : 2)) missed.push([link.hash, off]);
  }
  return missed;
}"""
PAINT = """() => new Promise((done) =>
  new PerformanceObserver((paints) => done(paints.getEntries().at(-1).startTime))
    .observe({ type: "paint", buffered: true })
)"""
PLAIN_TEXT = """() => {
  const page = document.body.cloneNode(true);
  page.querySelectorAll("code, pre, script").forEach((code) => code.remove());
  return page.textContent;
}"""
FIGURES = """async () => {
  const figures = [...document.querySelectorAll("figure")];
  await Promise.all(figures.map((figure) => figure.querySelector("img").decode()));
  return figures.map((figure) => {
    const { alt, naturalWidth } = figure.querySelector("img");
    return { alt, naturalWidth, caption: figure.querySelector("figcaption")?.textContent.trim() };
  });
}"""
CUT = """() => {
  const edge = document.querySelector("svg").getBoundingClientRect();
  const texts = [...document.querySelectorAll("svg g[id^=text_]")].map((text) => {
    return text.getBoundingClientRect();
  });
  const out = (text) => Math.max(
    edge.left - text.left, text.right - edge.right, edge.top - text.top, text.bottom - edge.bottom
  );
  return texts.length ? Math.max(...texts.map(out)) : null;
}"""
PRINT = """() => {
  const every = (selector) => [...document.querySelectorAll(selector)];
  const shown = (selector) => every(selector).filter((e) => e.offsetHeight);
  const styles = (selector) => shown(selector).map((e) => getComputedStyle(e));
  return {
    tallest: Math.max(...shown("figure, .formula, tr").map((e) => e.offsetHeight)),
    widest: Math.max(...shown("main *").map((e) => e.getBoundingClientRect().right)),
    cut: styles("figure").filter((style) => style.breakInside !== "avoid").length,
    figures: shown("figure").length,
    aside: shown(".side, .code, .anchor, .skip").length,
    underlined: styles("main a").filter((style) => style.textDecorationLine !== "none").length,
  };
}"""


@pytest.fixture(scope="module")
def chromium():
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def opened(chromium):
    """opened(name, …) -> the page, open; at the end no message and no request but for pages."""
    contexts, heard = [], []

    def listen(page):
        page.on("console", lambda message: heard.append(message.text))
        page.on("pageerror", lambda error: heard.append(str(error)))
        page.on("request", lambda request: heard.append(request.url))

    def open_page(name, width=1280, scheme="light", **options):
        viewport = {"width": width, "height": HEIGHT}
        context = chromium.new_context(viewport=viewport, color_scheme=scheme, **options)
        contexts.append(context)
        context.on("page", listen)
        page = context.new_page()
        page.goto(PAGES[name].as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    asked = tuple(["data:", *(path.as_uri() for path in PAGES.values())])
    assert [words for words in heard if not words.startswith(asked)] == []
    assert any(words.startswith("file:") for words in heard)  # the listening works


def fits(page):
    width = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    return page.evaluate(width) == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_a_page_fits_every_width_and_shows_every_figure(opened, name, scheme):
    page = opened(name, scheme=scheme)
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": HEIGHT})
        assert fits(page), width
        paragraphs = "Math.max(...[...document.querySelectorAll('main p')].map(e => e.offsetWidth))"
        assert page.evaluate(paragraphs) <= min(width, 640)  # a line is not too long to read
    assert "$" not in page.evaluate(PLAIN_TEXT)
    figures = page.evaluate(FIGURES)
    assert figures and all(
        own["alt"]
        and own["naturalWidth"]
        and re.match(r"(Рис\.|Figure) \d+\.\s+\S", own["caption"])
        for own in figures
    )
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (min(map(int, re.findall(r"\d+", paper))) > 127) == (scheme == "light")


def test_no_figure_cuts_its_text(chromium):
    page = chromium.new_page()
    for path in sorted((PROJECT / "figures").glob("*.svg")):
        page.set_content(path.read_text("utf-8"))
        assert page.evaluate(CUT) <= 0, f"{path.name}: px of text outside the figure"
    page.close()


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_small_and_painted_within_a_second(opened, name):
    assert PAGES[name].stat().st_size < 4e6
    times = [opened(name).evaluate(PAINT) for _ in range(3)]  # the machine may be busy
    assert 0 < min(times) < 1000, times


@pytest.mark.parametrize("name", ["report.ru", "report.en"])
def test_the_story_is_as_short_as_it_promises(opened, name):
    """At 1280 px: its height without the room below its end, words, figures, tables, bytes."""
    page = opened(name)
    height = page.evaluate("document.querySelector('article:last-child').offsetHeight")
    sizes = {
        "px": (height, 15_000),
        "words": (len(page.locator("main").inner_text().split()), 2_900),
        "figures": (page.locator("figure").count(), 10),
        "tables": (page.locator(".table").count(), 5),
        "bytes": (PAGES[name].stat().st_size, 2_500_000),
    }
    print(name, {what: size for what, (size, _) in sizes.items()})
    assert all(size <= most for size, most in sizes.values()), sizes


@pytest.mark.parametrize("name", PAGES)
def test_the_contents_lead_to_each_section_and_show_where_one_is(opened, name):
    page = opened(name)
    assert page.evaluate(LAND) == []
    chapters = page.locator("#contents > ol > li")
    unfolded = [chapter.locator("ol").is_visible() for chapter in chapters.all()]
    assert unfolded == [False] * (len(unfolded) - 1) + [
        True
    ]  # the last link was the last chapter's
    page.set_viewport_size({"width": 390, "height": HEIGHT})
    assert page.evaluate(LAND) == []


def test_the_contents_of_a_phone_open_and_close(opened):
    page = opened("appendix.ru", width=390)
    page.evaluate("scrollTo(0, 3000)")
    contents, button = page.locator("#contents"), page.locator("header .open")
    assert not contents.is_visible()
    button.press("Enter")
    assert contents.is_visible()
    page.keyboard.press("Escape")
    assert not contents.is_visible()
    button.click()
    expect(contents.locator("[aria-current]")).to_be_in_viewport()
    assert page.evaluate("scrollY") == 3000
    link = contents.locator("a:visible").nth(2)  # chapters that are not read are folded
    address = link.get_attribute("href")
    link.click()
    assert not contents.is_visible() and fits(page)
    link = contents.locator(f"a[href='{address}']")
    assert link.get_attribute("aria-current") == "location"


@pytest.mark.parametrize("name", PAGES)
def test_the_other_name_opens_at_the_same_section(opened, name):
    page = opened(name)
    addresses = page.locator("main :is(h2, h3)").evaluate_all("own => own.map(e => e.id)")
    address = addresses[len(addresses) // 2]
    page.evaluate("address => document.getElementById(address).scrollIntoView()", address)
    page.locator(".switch[href*='#']").click()
    own, language = name.split(".")
    page.wait_for_url(re.compile(rf"{own}\.{OTHER[language]}\.html#"))
    assert page.locator("html").get_attribute("lang") == OTHER[language]
    heading = page.locator(f"[id='{address}']")
    expect(heading).to_be_in_viewport()
    assert abs(heading.bounding_box()["y"] - 16) < 2
    assert page.locator("[aria-current]").inner_text() == heading.inner_text()


def test_one_switch_shows_all_code_and_stays_switched(opened):
    page = opened("appendix.en")
    listings, switch = page.locator(".code"), page.locator(".fold input")
    assert not listings.evaluate_all("all => all.some(e => e.checkVisibility())")
    switch.press("Space")
    assert listings.evaluate_all("all => all.length > 5 && all.every(e => e.checkVisibility())")
    page.locator(".switch").click()
    page.wait_for_url(re.compile(r"appendix\.ru\.html"))
    assert switch.is_checked()
    assert listings.evaluate_all("all => all.every(e => e.checkVisibility())")


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_complete_without_scripts(opened, name):
    page = opened(name, java_script_enabled=False)
    assert all(link.is_visible() for link in page.locator("#contents a").all())
    if page.locator(".fold").is_visible():  # the story has no code
        page.locator(".fold").click()
        assert page.locator(".code pre").first.is_visible()
    page.set_viewport_size({"width": 390, "height": HEIGHT})
    page.locator("header .open").click()
    assert page.locator("#contents a").first.is_visible()


def test_the_first_key_leads_past_the_contents(opened):
    page = opened("appendix.en")
    page.keyboard.press("Tab")
    skip = page.locator(".skip")
    assert skip.evaluate("e => e === document.activeElement") and skip.bounding_box()["y"] >= 0
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.tagName") == "MAIN"


def test_keys_reach_the_boxes_that_scroll_and_pass_over_the_others(opened):
    page = opened("appendix.ru", width=390)
    boxes = page.locator(":is(.table, .picture):visible")  # a still picture may be replaced
    wide = boxes.evaluate_all("all => all.map(e => e.scrollWidth > e.clientWidth)")
    tabs = boxes.evaluate_all("all => all.map(e => e.tabIndex === 0)")
    assert tabs == wide and {True, False} == set(tabs)
    box = boxes.nth(tabs.index(True))
    box.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_timeout(300)
    assert box.evaluate("e => e.scrollLeft") > 0


@pytest.mark.parametrize("name", PAGES)
def test_a_printed_page_cuts_no_figure(opened, name):
    page = opened(name, scheme="dark")
    page.emulate_media(media="print")
    width, height = PRINTED
    page.set_viewport_size({"width": width, "height": height})
    printed = page.evaluate(PRINT)
    assert printed["figures"] > 0 and printed["tallest"] <= height and printed["widest"] <= width
    assert printed["cut"] == printed["aside"] == printed["underlined"] == 0
    pdf = page.pdf(prefer_css_page_size=True)
    assert len(re.findall(rb"/Type\s*/Page\b", pdf)) > 2


@pytest.mark.parametrize(
    ("name", "width", "scheme"),
    [
        ("report.ru", 390, "light"),
        pytest.param("appendix.ru", 390, "light", marks=pytest.mark.long),
        pytest.param("appendix.en", 1280, "dark", marks=pytest.mark.long),
    ],
)
def test_axe_finds_no_serious_problem(opened, name, width, scheme):
    page = opened(name, width=width, scheme=scheme)
    found = Axe().run(page).response
    assert len(found["passes"]) > 20
    serious = [own for own in found["violations"] if own["impact"] in ("serious", "critical")]
    told = [(own["id"], [node["html"][:120] for node in own["nodes"][:3]]) for own in serious]
    assert told == []
