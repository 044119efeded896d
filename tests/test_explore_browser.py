"""The explorer in a real browser: load, filter, open, change the layer, compare; with keys, on a phone, in the dark.

Skipped where no Chromium is installed (`apt-get install chromium-headless-shell`, or any other that is on the PATH).
"""

from __future__ import annotations

import re
import shutil
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn
from playwright.sync_api import Browser, Page, expect, sync_playwright

import introspect
from explored_runs import HOSTILE_NUMBER, finished_run
from introspect.explore.app import make_app
from introspect.explore.site import Site
from tiny_folders import save_tiny

CHROMIUM = next(
    filter(
        None,
        map(shutil.which, ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "chrome")),
    ),
    None,
)
TOKEN = "of-the-test"  # noqa: S105
PATIENCE = 60_000
"""Milliseconds: torch is loaded when a rollout is first opened."""
ROLLOUT = 11

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the PATH: apt-get install chromium-headless-shell"),
]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("runs")
    save_tiny(folder / "tiny")
    return [
        finished_run(folder / "planted", folder / "tiny"),
        finished_run(folder / "empty", folder / "tiny", inside=False, seed=1),
    ]


@pytest.fixture(scope="module")
def base(runs: list[Path]) -> Iterator[str]:
    site = Site(runs)
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    server = uvicorn.Server(
        uvicorn.Config(make_app(site, TOKEN), log_level="warning", lifespan="off", access_log=False)
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}/{TOKEN}"
    server.should_exit = True
    thread.join(30)
    site.close()
    listening.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


def opened(browser: Browser, **options: object) -> Page:
    """A page on which nothing may go wrong: no script error, no refused load, no dialog, no request elsewhere."""
    page = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options}).new_page()
    page.set_default_timeout(PATIENCE)
    expect.set_options(timeout=PATIENCE)
    page.wrong = []
    page.on("pageerror", lambda error: page.wrong.append(str(error)))
    page.on("console", lambda line: line.type == "error" and page.wrong.append(line.text))
    page.on("dialog", lambda dialog: (page.wrong.append(dialog.message), dialog.dismiss()))
    page.on("request", lambda sent: f"/{TOKEN}/" not in sent.url[:60] and page.wrong.append(sent.url))
    return page


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    found = opened(browser)
    yield found
    assert [line for line in found.wrong if not line.startswith("data:")] == []
    found.context.close()


def settled(page: Page) -> None:
    """Wait until nothing of the page is still being made."""
    page.wait_for_selector("main:not([data-again])")


def test_the_first_view_has_the_answer_the_map_and_its_figure(page, base):
    page.goto(f"{base}/runs/0")
    expect(page.get_by_role("heading", level=1)).to_have_text("planted")
    expect(page.get_by_label("The answer")).to_contain_text("The activations at layer 1")
    expect(page.locator("table.map tbody tr")).to_have_count(2)
    expect(page.locator("[data-figure] .main-svg").first).to_be_visible()


def test_the_map_is_shown_otherwise_without_loading_the_page_again(page, base):
    page.goto(f"{base}/runs/0")
    page.evaluate("() => { window.kept = true; }")
    page.get_by_label("show").select_option("null")
    expect(page.locator("table.map caption")).to_contain_text("shuffled labels stay under")
    page.get_by_role("link", name=re.compile("layer 0, think 100")).click()
    expect(page.get_by_role("heading", name="Layer 0, think 100")).to_be_visible()
    assert "show=null" in page.url and "layer=0" in page.url and page.evaluate("() => window.kept")
    expect(page.locator("[data-figure] .main-svg").first).to_be_visible()
    page.go_back()
    expect(page.get_by_role("heading", name="Layer 0, think 100")).to_have_count(0)


def test_what_was_asked_last_is_what_is_shown(page, base):
    """However late an earlier answer comes."""
    page.goto(f"{base}/runs/0")
    page.evaluate(
        """() => {
            const real = window.fetch;
            window.late = 0;
            window.fetch = (address, options) => String(address).includes("show=null")
                ? new Promise((go) => setTimeout(go, 700))
                    .then(() => real(address))
                    .finally(() => { window.late += 1; })
                : real(address, options);
        }"""
    )
    page.get_by_label("show").select_option("null")
    page.get_by_label("show").select_option("inner")
    expect(page.locator("table.map caption")).to_contain_text("inner folds of the development groups")
    page.wait_for_function("() => window.late === 1")
    page.wait_for_timeout(300)
    expect(page.locator("table.map caption")).to_contain_text("inner folds of the development groups")
    assert "show=inner" in page.url


def test_a_filter_stands_in_the_address_and_can_be_gone_back_from(page, base, runs):
    rows = introspect.open_run(runs[0]).rollouts
    page.goto(f"{base}/runs/0/rollouts")
    expect(page.locator("#count")).to_contain_text("240 of 240")
    page.get_by_label("acted").select_option("yes")
    n_acted = int(rows.acted.sum())
    expect(page.locator("#count")).to_contain_text(f"{n_acted} of 240")
    page.get_by_label("readout").select_option("policy")
    page.wait_for_url(re.compile("readout=policy"))
    both = int((rows.acted.fillna(False) & (rows.readout == "policy")).sum())
    expect(page.locator("#count")).to_contain_text(f"{both} of 240")
    assert "acted=yes" in page.url
    page.go_back()
    page.wait_for_url(re.compile("acted=yes$"))
    expect(page.locator("#count")).to_contain_text(f"{n_acted} of 240")
    expect(page.get_by_label("acted")).to_have_value("yes")


def test_a_rollout_is_opened_read_at_another_layer_and_left_with_keys_alone(page, base):
    page.goto(f"{base}/runs/0/rollouts?acted=no")
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    settled(page)
    first = page.get_by_role("heading", level=1).inner_text()
    think = page.locator("section.think .tokens span")
    at_one = think.evaluate_all("all => all.map((each) => getComputedStyle(each).backgroundColor)")
    assert len(set(at_one)) > 1 and "layer=0" not in page.url
    page.keyboard.press("[")
    page.wait_for_url(re.compile("layer=0"))
    settled(page)
    at_zero = page.locator("section.think .tokens span").evaluate_all(
        "all => all.map((each) => getComputedStyle(each).backgroundColor)"
    )
    assert at_zero != at_one
    page.keyboard.press("j")
    page.wait_for_function("(was) => document.querySelector('h1').textContent !== was", arg=first)
    assert "layer=0" in page.url and "acted=no" in page.url
    page.keyboard.press("k")
    expect(page.get_by_role("heading", level=1)).to_have_text(first)
    page.keyboard.press("l")
    page.wait_for_url(re.compile("/rollouts$"))


def test_a_token_is_read_out_with_the_arrows(page, base):
    page.goto(f"{base}/runs/0/rollouts/{ROLLOUT}?layer=1")
    settled(page)
    page.locator("section.think .tokens").focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("status").last).to_contain_text(re.compile(r"position \d+, think: log-odds [-+]"))
    before = page.get_by_role("status").last.inner_text()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("status").last).not_to_have_text(before)


def test_the_probe_and_the_way_of_showing_are_chosen(page, base):
    page.goto(f"{base}/runs/0/rollouts/{ROLLOUT}?layer=0")
    settled(page)
    page.get_by_label("probe").select_option("own:before_answer")
    page.wait_for_url(re.compile("own%3Abefore_answer"))
    settled(page)
    page.get_by_role("combobox", name="as", exact=True).select_option("table")
    expect(page.locator("main table").first.locator("tbody tr")).to_have_count(70)


def test_two_runs_stand_side_by_side_down_to_one_question(page, base):
    page.goto(f"{base}/")
    page.get_by_role("link", name="Compare the first two").click()
    settled(page)
    expect(page.locator("table.map")).to_have_count(2)
    left, right = (page.locator("table.map").nth(i).bounding_box() for i in (0, 1))
    assert left["x"] + left["width"] <= right["x"]
    page.locator("a.open").first.click()
    settled(page)
    expect(page.locator("section.think")).to_have_count(2)


def test_help_is_a_key_away(page, base):
    page.goto(f"{base}/runs/0")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog", name="Keys")).to_be_hidden()
    page.goto(f"{base}/runs/0/rollouts")
    page.keyboard.press("/")
    expect(page.get_by_label("acted")).to_be_focused()


def test_what_a_model_wrote_runs_nothing(page, base):
    for path in (f"/runs/0/rollouts/{HOSTILE_NUMBER}", "/runs/0/rollouts", f"/compare/{HOSTILE_NUMBER}?a=0&b=1"):
        page.goto(base + path)
        settled(page)
        expect(page.locator("main script, main img")).to_have_count(0)
        expect(page.locator("main")).to_contain_text("<script>")


PATHS = ("/", "/runs/0", "/runs/0/rollouts", f"/runs/0/rollouts/{ROLLOUT}", "/runs/0/figures", "/compare?a=0&b=1")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_fits_a_phone_and_can_be_read(browser, base, scheme):
    page = opened(browser, viewport={"width": 390, "height": 844}, color_scheme=scheme)
    for path in (*PATHS, f"/compare/{ROLLOUT}?a=0&b=1"):
        page.goto(base + path)
        settled(page)
        assert page.evaluate("() => document.documentElement.scrollWidth") == 390, path
        ink, ground = page.evaluate(
            "() => { const style = getComputedStyle(document.body); return [style.color, style.backgroundColor]; }"
        )
        light, dark = (sum(map(int, re.findall(r"\d+", colour)[:3])) for colour in (ground, ink))
        assert (light > dark) == (scheme == "light") and abs(light - dark) > 500, path
    assert page.wrong == []
    page.context.close()


@pytest.mark.parametrize("path", PATHS)
def test_a_screen_reader_finds_its_way(page, base, path):
    page.goto(base + path)
    settled(page)
    expect(page.get_by_role("heading", level=1)).to_have_count(1)
    expect(page.get_by_role("main")).to_have_count(1)
    nameless = page.evaluate(
        """() => [...document.querySelectorAll("main select, main input:not([type=hidden]), main a, main button")]
        .filter((each) => !(each.labels && each.labels.length) && !each.textContent.trim() &&
            !each.getAttribute("aria-label"))
        .map((each) => each.outerHTML)"""
    )
    assert nameless == []
    pictures = page.locator("[role=img]")
    assert all(pictures.nth(i).get_attribute("aria-label") for i in range(pictures.count()))
    tables = page.locator("main table")
    for i in range(tables.count()):
        assert tables.nth(i).locator("th[scope]").count() > 0
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()


def test_it_works_without_scripts(browser, base):
    page = opened(browser, java_script_enabled=False)
    page.goto(f"{base}/runs/0/rollouts")
    page.get_by_label("acted").select_option("yes")
    page.get_by_role("button", name="Filter").click()
    assert "acted=yes" in page.url
    page.locator("a.open").first.click()
    assert "acted=yes" in page.url
    expect(page.get_by_role("heading", level=1)).to_contain_text("Rollout")
    page.context.close()
