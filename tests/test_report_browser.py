"""The HTML report in headless Chromium: it opens, works by keyboard, asks nobody for anything, and can be read."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

_SPEC = importlib.util.spec_from_file_location("reporttools", Path(__file__).with_name("reporttools.py"))
assert _SPEC is not None
assert _SPEC.loader is not None
tools = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(tools)
HOSTILE = tools.HOSTILE
compared, page = tools.compared, tools.page


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Headless Chromium; without it the test is skipped, and says so."""
    program, driver = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
    selenium = pytest.importorskip("selenium.webdriver", reason="NOT RUN IN A BROWSER: selenium is not installed")
    if program is None or driver is None:
        pytest.skip("NOT RUN IN A BROWSER: chromium and chromedriver (chromium-driver) are not installed")
    from selenium.webdriver.chrome.service import Service

    options = selenium.ChromeOptions()
    options.binary_location = program
    profile = tmp_path_factory.mktemp("profile")
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.add_argument(f"--user-data-dir={profile}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    opened = selenium.Chrome(options=options, service=Service(driver))
    yield opened
    opened.quit()


def _open(browser: Any, path: Path, *, width: int = 1280, scheme: str = "light") -> None:
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    browser.get(path.as_uri())


def _requests(browser: Any) -> list[str]:
    """The addresses asked for since the last call."""
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return [found["params"]["request"]["url"] for found in messages if found["method"] == "Network.requestWillBeSent"]


def _find(browser: Any, selector: str) -> list[Any]:
    from selenium.webdriver.common.by import By

    return [found for found in browser.find_elements(By.CSS_SELECTOR, selector) if found.is_displayed()]


def _press(browser: Any, selector: str) -> None:
    """As from the keyboard: what cannot be focused cannot be pressed."""
    from selenium.webdriver.common.keys import Keys

    _find(browser, selector)[0].send_keys(Keys.ENTER)


def test_it_opens_without_errors_and_asks_the_network_for_nothing(browser: Any, compared: Path, page: Any) -> None:
    control = compared.parent / "control.html"
    control.write_text('<!doctype html><img src="http://127.0.0.1:9/x.png">')
    _open(browser, control)
    assert "http://127.0.0.1:9/x.png" in _requests(browser), "the test would not notice a request"
    browser.get_log("browser")
    target = compared.parent / "page.html"
    _open(browser, target)
    _find(browser, ".card")[0].click()
    asked = [address for address in _requests(browser) if not address.startswith("data:")]
    assert asked == [target.as_uri()]
    assert browser.get_log("browser") == []
    assert browser.execute_script("return typeof hacked") == "undefined"
    assert browser.execute_script("return [...document.images].every(i => !i.src || i.naturalWidth > 0)")


def test_filters_toggles_and_sorting_work(browser: Any, compared: Path, page: Any) -> None:
    _open(browser, compared.parent / "page.html")
    assert len(_find(browser, "#cards .card")) == 16
    _press(browser, '[data-filter="defect"] [data-value="dent"]')
    assert len(_find(browser, "#cards .card")) == 8
    _press(browser, '[data-filter="method"] [data-value="worse"]')
    shown = _find(browser, "#cards .card")
    assert {(card.get_dom_attribute("data-method"), card.get_dom_attribute("data-defect")) for card in shown} == {
        ("worse", "dent")
    }
    assert _find(browser, "#count")[0].text == f"{len(shown)} shown" == "4 shown"
    _press(browser, '[data-filter="method"] [data-all]')
    assert len(_find(browser, "#cards .card")) == 8

    assert _find(browser, "#cards .card .mask")
    _press(browser, '#gallery [data-toggle="mask"]')
    assert not _find(browser, "#cards .card .mask")

    before = _find(browser, "#cards .card .base")[0].get_dom_attribute("src")
    _press(browser, '#gallery [data-toggle="close"]')
    assert _find(browser, "#cards .card .base")[0].get_dom_attribute("src") != before

    heading = _find(browser, "#results thead tr:last-child th:nth-child(2)")[0]
    _press(browser, "#results thead tr:last-child th:nth-child(2) button")
    assert heading.get_dom_attribute("aria-sort") == "ascending"
    assert [row.text for row in _find(browser, "#results tbody th")] == ["worse", "real-only", "odd", "better"]
    _press(browser, "#results thead tr:last-child th:nth-child(1) button")
    assert [row.text for row in _find(browser, "#results tbody th")] == ["better", "odd", "real-only", "worse"]


def test_the_viewer_by_keyboard_alone(browser: Any, compared: Path, page: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    _open(browser, compared.parent / "page.html")
    card = _find(browser, "#cards .card")[0]
    card.send_keys(Keys.ENTER)
    wipe = browser.switch_to.active_element
    assert wipe.get_dom_attribute("id") == "wipe", "the slider has the focus"
    assert browser.execute_script("return getComputedStyle(arguments[0]).outlineStyle", wipe) == "solid"
    normal = _find(browser, "#normal")[0]
    assert normal.get_dom_attribute("src") == page.data["normals"]["n0"]
    covers = "return getComputedStyle(arguments[0]).clipPath"
    assert browser.execute_script(covers, normal) == "inset(0px 100% 0px 0px)"
    wipe.send_keys(Keys.ARROW_RIGHT * 30)
    assert browser.execute_script(covers, normal) == "inset(0px 70% 0px 0px)"
    assert wipe.get_dom_attribute("aria-valuetext") == "30 % normal"
    recipe = _find(browser, "#recipe")[0]
    assert json.loads(recipe.get_property("textContent"))["drawn"] == {"hostile": HOSTILE, "big": 2**62 + 1}
    first = _find(browser, "#viewer-title")[0].text
    _press(browser, "#next")
    second = _find(browser, "#viewer-title")[0].text
    assert second != first
    browser.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert not _find(browser, "#viewer")
    focused = browser.execute_script("return document.activeElement.dataset.sample")
    assert page.data["samples"][focused]["name"] in second, "the focus is where one left off"


def test_the_focus_stays_where_the_samples_end(browser: Any, compared: Path, page: Any) -> None:
    _open(browser, compared.parent / "page.html")
    count = len(_find(browser, "#cards .card"))
    _find(browser, "#cards .card")[count - 2].click()
    title, focused = "return document.getElementById('viewer-title').textContent", "return document.activeElement.id"
    ends = "return ['previous', 'next'].map((id) => document.getElementById(id).getAttribute('aria-disabled'))"
    assert browser.execute_script(ends) == ["false", "false"]
    _press(browser, "#next")
    last = browser.execute_script(title)
    assert browser.execute_async_script("requestAnimationFrame(() => setTimeout(arguments[0], 50))") is None
    assert browser.execute_script(focused) == "next", "Chromium takes the focus from a disabled button a frame later"
    assert browser.execute_script(ends) == ["false", "true"]
    _press(browser, "#next")
    assert browser.execute_script(title) == last, "there is none after it"
    _press(browser, "#previous")
    assert browser.execute_script(title) != last
    for _ in range(count):
        _press(browser, "#previous")
    assert browser.execute_script(focused) == "previous"
    assert browser.execute_script(ends) == ["true", "false"]


# Text whose contrast is below 4.5 (WCAG 2.2, 1.4.3), with its ratio; an element's background is that of its nearest
# ancestor which has one. What cannot be pressed now is exempt.
CONTRAST = """
const level = (rgb) => { const [r, g, b] = rgb.map((v) => v / 255).map((v) =>
  v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
const numbers = (text) => text.match(/[\\d.]+/g).map(Number);
const ground = (element) => { for (let at = element; at; at = at.parentElement) {
  const found = numbers(getComputedStyle(at).backgroundColor);
  if (found.length === 3 || found[3] === 1) return found.slice(0, 3); } return [255, 255, 255]; };
const poor = []; let seen = 0;
for (const element of document.querySelectorAll("body *")) {
  if (!element.checkVisibility({visibilityProperty: true})) continue;
  if (![...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim())) continue;
  const style = getComputedStyle(element), svg = element instanceof SVGTextElement;
  if (element instanceof SVGElement && !svg || element.ariaDisabled === "true") continue;
  const [a, b] = [level(numbers(svg ? style.fill : style.color)), level(ground(element))];
  const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  seen += 1;
  const name = `${element.tagName} ${element.className?.baseVal ?? element.className}`;
  if (ratio < 4.5) poor.push(`${name} ${ratio.toFixed(2)}`);
}
return [seen, [...new Set(poor)]];
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_both_schemes_can_be_read(browser: Any, compared: Path, page: Any, scheme: str) -> None:
    _open(browser, compared.parent / "page.html", scheme=scheme)
    ground = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    seen, poor = browser.execute_script(CONTRAST)
    assert seen > 100
    assert poor == []
    browser.execute_script("document.querySelector('#cards .card').click()")
    assert browser.execute_script(CONTRAST)[1] == []
    browser.execute_script("document.getElementById('viewer').close()")
    _press(browser, "#theme")
    assert browser.execute_script("return getComputedStyle(document.body).backgroundColor") != ground
    assert browser.execute_script(CONTRAST)[1] == []
    browser.execute_script("localStorage.clear()")


def test_a_phone_does_not_scroll_sideways(browser: Any, compared: Path, page: Any) -> None:
    _open(browser, compared.parent / "page.html", width=375)
    across = "return [document.documentElement.scrollWidth, document.body.scrollWidth, innerWidth]"
    assert browser.execute_script(across) == [375, 375, 375]
    browser.execute_script("document.querySelector('#cards .card').click()")
    assert (
        browser.execute_script("const v = document.getElementById('viewer'); return v.scrollWidth - v.clientWidth") == 0
    )
    small = "return [...document.querySelectorAll('#gallery .tools button')].filter(b => b.offsetHeight < 24).length"
    assert browser.execute_script(small) == 0  # WCAG 2.2, 2.5.8: targets of at least 24 pixels
