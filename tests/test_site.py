"""The site that `make docs` builds: whole, readable at any width, nothing from elsewhere."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from documents import ROOT, flags, help_texts, run
from network import from_elsewhere, requested

pytestmark = pytest.mark.long


class Page(HTMLParser):
    """What a page refers to.

    Attributes:
        loaded: URLs that a browser gets by itself: scripts, styles, pictures.
        linked: URLs of its links.
        ids: places in it that links may lead to.
        text: all of it, without tags.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.linked: list[str] = []
        self.ids: set[str] = set()
        self.text = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.ids.add(found.get("id", ""))
        if "src" in found:
            self.loaded.append(found["src"])
        if "href" in found:
            loads = tag == "link" and found.get("rel") in ("stylesheet", "icon", "preconnect")
            (self.loaded if loads else self.linked).append(found["href"])

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site, built as `make docs` does."""
    folder = tmp_path_factory.mktemp("site")
    run(["-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)], ROOT)
    return folder


def test_the_site_is_whole_and_needs_nothing_from_elsewhere(site):
    pages = {path.resolve(): Page(path) for path in site.rglob("*.html")}
    for path, page in pages.items():
        if path.name == "404.html":  # its links start at the root of a server
            continue
        assert not [url for url in page.loaded if urlsplit(url).scheme not in ("", "data")], path
        for url in page.loaded + page.linked:
            parts = urlsplit(url)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            assert target.is_file(), f"{path}: {url}"
            if parts.fragment and target in pages:
                assert unquote(parts.fragment) in pages[target].ids, url
    for style in site.rglob("*.css"):
        assert not re.search(r"url\(\s*[\"']?https?:", style.read_text(encoding="utf-8")), style


def test_the_site_shows_every_command_and_option(site):
    shown = Page(site / "commands.html").text
    for command, text in help_texts().items():
        assert f"zoo {command}".strip() in shown
        assert flags(text) - {"--help"} <= flags(shown)


@pytest.mark.parametrize(
    ("page", "words"),
    [
        ("api/zoo.color.bins", ["nearest_bin", "N×2×H×W chroma to N×H×W int64"]),
        ("api/zoo.testing", ["checks", "The conformance kit"]),
        ("api/zoo.colorizer", ["predict_ab", "fit"]),
        ("contributing", ["What the class has to do"]),
        ("overview", ["A colorizer of your own"]),
        ("source/plugins/zoo_plugins/baselines.py", ["class MeanColor"]),
    ],
)
def test_the_site_is_made_of_the_code_and_of_the_root(site, page, words):
    text = Page(site / f"{page}.html").text
    for word in words:
        assert word in text


@pytest.mark.parametrize("width", [1280, 390])
def test_pages_fit_into_the_window_and_get_nothing_from_elsewhere(site, browser, width):
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    for log in ("browser", "performance"):
        browser.get_log(log)
    for path in sorted(site.rglob("*.html")):
        if path.name == "404.html":
            continue
        browser.get(path.as_uri())
        wide = browser.execute_script("return document.documentElement.scrollWidth")
        assert wide <= width, path
        broken = "return [...document.images].filter((i) => !i.naturalWidth).map((i) => i.src)"
        assert browser.execute_script(broken) == [], path
    assert browser.get_log("browser") == []
    urls = requested(browser)
    assert any(url.startswith(site.as_uri()) for url in urls)
    assert from_elsewhere(urls) == []


def test_the_search_works_from_disk(site, browser):
    from selenium.webdriver.support.ui import WebDriverWait

    size = {"width": 1280, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get((site / "api" / "zoo.color.bins.html").as_uri())
    wait = WebDriverWait(browser, 60)
    field = browser.find_element("css selector", "input.md-search__input")
    wait.until(lambda _: field.is_displayed() and field.is_enabled())
    field.send_keys("annealed mean")
    results = wait.until(lambda b: b.find_elements("css selector", ".md-search-result__link"))
    assert any("methods.html" in link.get_attribute("href") for link in results)
