"""Every document keeps its word: what it tells a reader to type works as it stands."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from documents import (
    DOCUMENTS,
    ROOT,
    anchors,
    blocks,
    files,
    flags,
    help_texts,
    run,
    shell_lines,
    typed,
    write_plugin,
)

# ---- what the documents presume -------------------------------------------------------------

_IMAGES = """
import numpy as np
from skimage import data
photo = data.astronaut()
images = np.stack([photo[y : y + 64, x : x + 64] for y in (0, 96) for x in (96, 192)])
"""
_WEIGHTS = f"""{_IMAGES}
import zoo
small = zoo.load("zhang_rebalanced", width=0.25, batch_size=2, device="cpu")
small.fit(images, budget="1steps").save("weights.safetensors")
"""
STAND_INS = {
    "docs/training.md": _IMAGES,
    "docs/colorize.md": f"""{_WEIGHTS}
from pathlib import Path
from PIL import Image
Path("scans").mkdir()
for number in range(2):
    Image.fromarray(images[number]).convert("L").save(f"scans/{{number}}.png")
""",
    # What is published is not downloaded in a test: a file of the same kind takes its place.
    "docs/weights.md": f"""{_WEIGHTS}
import shutil
from pathlib import Path
import zoo.published, zoo.weights
shutil.copy("weights.safetensors", "mine.safetensors")
zoo.published.fetch = zoo.weights.fetch = lambda found, **_: Path("weights.safetensors")
""",
}
"""Code that runs before the blocks of a document: the names and files that they presume."""

LEFT_BEHIND = {
    "README.md": ["mine.safetensors"],
    "docs/training.md": ["mine.safetensors", "prior.csv"],
    "docs/colorize.md": ["colour/0.png", "colour/1.png"],
}
"""Files that the blocks of a document must have written."""

SHORTER = {
    'budget="30min"': 'budget="2steps"',
    "--budget 200steps": "--budget 3steps",
    "--budget 300steps": "--budget 3steps",
    "--at 100steps": "--at 2steps",
}
"""What is long in a document, and what a test takes in its place."""

NEEDS_A_NETWORK = ("eccv16",)
"""Words of commands that are checked and not run."""

# ---- code -----------------------------------------------------------------------------------


def with_blocks(language: str) -> pytest.MarkDecorator:
    names = [name for name, text in DOCUMENTS.items() if blocks(text, language)]
    return pytest.mark.parametrize("name", names)


def shorter(text: str) -> str:
    for long, short in SHORTER.items():
        text = text.replace(long, short)
    return text


@with_blocks("python")
def test_python_blocks_run(name, tmp_path):
    document = DOCUMENTS[name]
    modules = {content: Path(file) for file, content in files(document)}
    if modules:
        write_plugin(document, tmp_path)
    script = [STAND_INS.get(name, "")]
    for block in blocks(document, "python"):
        compile(block, name, "exec")
        script.append(f"import {modules[block].stem}" if block in modules else shorter(block))
    (tmp_path / "page.py").write_text("\n".join(script), encoding="utf-8")
    run(["page.py"], tmp_path)
    for path in LEFT_BEHIND.get(name, []):
        assert (tmp_path / path).stat().st_size > 0


def test_long_blocks_are_shortened_only_where_there_are_any():
    everything = "".join(DOCUMENTS.values())
    assert [long for long in SHORTER if long not in everything] == []


@with_blocks("toml")
def test_toml_blocks_parse(name):
    for block in blocks(DOCUMENTS[name], "toml"):
        assert tomllib.loads(block)


# ---- commands -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DOCUMENTS)
def test_commands_and_their_options_exist(name):
    texts = help_texts()
    used = typed(DOCUMENTS[name])
    commands = [words for words in used if Path(words[0]).name == "zoo" and len(words) > 1]
    assert commands or name == "docs/index.md"
    for _, *words in commands:
        if words[0] == "COMMAND":
            continue
        command, arguments = "", words
        while "Commands:" in texts[command] and arguments and arguments[0][0] != "-":
            command, arguments = f"{command} {arguments[0]}".strip(), arguments[1:]
            assert command in texts, f"there is no zoo {command}"
        offered = flags(texts[command]) | set(re.findall(r"(?<!\S)-[a-z]\b", texts[command]))
        missing = {a for a in arguments if a.startswith("-")} - offered
        assert not missing, f"zoo {command} has no {missing}"
    alone = {words[0] for words in used if words[0].startswith("--")}
    assert alone <= {flag for text in texts.values() for flag in flags(text)}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_make_targets_exist(name):
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert "test" in targets
    for words in typed(DOCUMENTS[name]):
        if words[0] == "make":
            named = {word for word in words[1:] if re.fullmatch(r"[a-z][a-z-]*", word)}
            assert named <= set(targets), words


def run_commands(name, folder, plugin=None):
    """Types the `zoo` lines of a document's shell blocks, shortened; gives back what they print."""
    printed = {}
    for words in shell_lines(DOCUMENTS[name]):
        if words[0] == "zoo" and not set(words) & set(NEEDS_A_NETWORK):
            command = shlex.split(shorter(shlex.join(words)))
            printed[shlex.join(words)] = run(["-m", *command], folder, plugin)
    assert printed
    return printed


@pytest.mark.long
def test_the_first_comparison_can_be_typed(tmp_path):
    run_commands("docs/tutorial/first-bench.md", tmp_path)
    assert (tmp_path / "first" / "report.html").is_file()
    assert (tmp_path / "first" / "samples.png").is_file()


@pytest.mark.long
def test_the_first_plugin_can_be_typed(tmp_path):
    name = "docs/tutorial/first-plugin.md"
    plugin, here = tmp_path / "plugin", tmp_path / "here"
    plugin.mkdir()
    here.mkdir()
    write_plugin(DOCUMENTS[name], plugin)
    printed = run_commands(name, here, plugin)
    assert "tint_around" in printed["zoo list"]
    assert "failed" not in printed["zoo check tint"].lower()
    assert (here / "tints" / "samples.png").is_file()


@pytest.mark.long
def test_own_photographs_can_be_typed(tmp_path):
    from PIL import Image
    from skimage import data

    for folder in ("holiday", "scans"):
        (tmp_path / folder).mkdir()
    photographs = (data.astronaut(), data.coffee(), data.chelsea())
    for number, photo in enumerate(photographs):
        for left in range(0, 300, 50):
            tile = Image.fromarray(photo[:256, left : left + 150])
            tile.save(tmp_path / "holiday" / f"{number}-{left}.png")
        Image.fromarray(photo).convert("L").save(tmp_path / "scans" / f"{number}.jpg")
    run_commands("docs/tutorial/own-photographs.md", tmp_path)
    for number, photo in enumerate(photographs):
        with Image.open(tmp_path / "colour" / f"{number}.jpg") as coloured:
            assert (coloured.mode, coloured.size) == ("RGB", photo.shape[1::-1])


# ---- links ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_lead_somewhere(name):
    folder = (ROOT / name).parent
    for target in re.findall(r"\[[^\]]*\]\(([^)\s]+)\)", DOCUMENTS[name]):
        parts = urlsplit(target)
        if parts.scheme:
            continue
        path = (folder / parts.path).resolve() if parts.path else ROOT / name
        assert path.exists(), target
        assert path.is_relative_to(ROOT), target
        if parts.fragment:
            document = DOCUMENTS[path.relative_to(ROOT).as_posix()]
            assert parts.fragment in anchors(document), target


# ---- the site -------------------------------------------------------------------------------


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


@pytest.mark.long
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


@pytest.mark.long
def test_the_site_shows_every_command_and_option(site):
    shown = Page(site / "commands.html").text
    for command, text in help_texts().items():
        assert f"zoo {command}".strip() in shown
        assert flags(text) - {"--help"} <= flags(shown)


@pytest.mark.long
@pytest.mark.parametrize(
    ("page", "words"),
    [
        ("api/zoo.bins", ["nearest_bin", "N×2×H×W chroma to the N×H×W int64 index"]),
        ("api/zoo.testing", ["checks", "The conformance kit"]),
        ("api/zoo.colorizer", ["predict_ab", "fit"]),
        ("contributing", ["What the class has to do"]),
        ("overview", ["How the comparison is kept fair"]),
        ("source/plugins/zoo_plugins/baselines.py", ["class MeanColor"]),
    ],
)
def test_the_site_is_made_of_the_code_and_of_the_root(site, page, words):
    text = Page(site / f"{page}.html").text
    for word in words:
        assert word in text


@pytest.mark.long
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
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    sent = [m["params"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    urls = [each["request"]["url"] for each in sent]
    assert urls
    assert {url.partition(":")[0] for url in urls} <= {"file", "data", "about"}


@pytest.mark.long
def test_the_search_works_from_disk(site, browser):
    from selenium.webdriver.support.ui import WebDriverWait

    size = {"width": 1280, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get((site / "api" / "zoo.bins.html").as_uri())
    wait = WebDriverWait(browser, 60)
    field = browser.find_element("css selector", "input.md-search__input")
    wait.until(lambda _: field.is_displayed() and field.is_enabled())
    field.send_keys("annealed mean")
    results = wait.until(lambda b: b.find_elements("css selector", ".md-search-result__link"))
    assert any("methods.html" in link.get_attribute("href") for link in results)
