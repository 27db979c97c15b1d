"""The page in a real Chromium: its colours, its words, its keys, and what it asks for."""

from __future__ import annotations

import base64
import io
import os
import shutil
import signal
import struct
import subprocess
import sys
import threading
import time
import urllib.request
import zlib
from pathlib import Path

import numpy as np
import pytest
from network import requested
from PIL import Image
from skimage import data

import zoo as zoo_package
from zoo.errors import PageError
from zoo.export.file import export_onnx, open_session, run
from zoo.page.folder import write_page
from zoo.page.runtime import runtime_files
from zoo.page.server import PageServer

pytestmark = pytest.mark.long

MODEL = "unet_timm@release"
HISTORIC = sorted((Path(__file__).parents[3] / "docs/historic").glob("*.jpg"))
WIDE, NARROW = (1280, 900, False), (390, 844, True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The page with the model that comes along."""
    try:
        runtime_files()
    except PageError as error:
        pytest.skip(str(error))
    written = tmp_path_factory.mktemp("page") / "site"
    write_page(written, [MODEL])
    return written


@pytest.fixture(scope="module")
def server(folder):
    served = PageServer(folder, 0)
    threading.Thread(target=served.serve_forever, args=(0.01,), daemon=True).start()
    yield served
    served.shutdown()
    served.server_close()


class Tab:
    """The page in a tab of the browser."""

    def __init__(self, browser, downloads: Path) -> None:
        self.browser, self.downloads = browser, downloads
        self.run = browser.execute_script
        self.cdp = browser.execute_cdp_cmd
        place = {"behavior": "allow", "downloadPath": str(downloads)}
        self.cdp("Browser.setDownloadBehavior", place)

    def open(self, url: str) -> None:
        self.browser.get("about:blank")
        for log in ("browser", "performance"):
            self.browser.get_log(log)
        self.browser.get(url)

    def wait(self, script: str, seconds: float = 120):
        """What a script gives, once that is true."""
        end = time.monotonic() + seconds
        while not (found := self.run(f"return {script}")):
            assert time.monotonic() < end, self.text()
            time.sleep(0.05)
        return found

    def text(self) -> str:
        return self.run("return document.body.innerText")

    def words(self) -> str:
        return self.run("return document.getElementById('words').textContent")

    def show(self, size, scheme: str) -> None:
        width, height, mobile = size
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile}
        self.cdp("Emulation.setDeviceMetricsOverride", metrics)
        self.cdp("Emulation.setTouchEmulationEnabled", {"enabled": mobile})
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.cdp("Emulation.setEmulatedMedia", {"features": features})

    def choose(self, *paths: Path) -> None:
        field = self.browser.find_element("id", "files")
        field.send_keys("\n".join(map(str, paths)))

    def drop(self, name: str, content: bytes) -> None:
        """Drops a file from outside of the window."""
        self.run(
            "const bytes = Uint8Array.from(atob(arguments[1]), (c) => c.charCodeAt(0));"
            "const dataTransfer = new DataTransfer();"
            "dataTransfer.items.add(new File([bytes], arguments[0]));"
            "for (const kind of ['dragenter', 'dragover', 'drop']) document.body.dispatchEvent("
            "new DragEvent(kind, {dataTransfer, bubbles: true, cancelable: true}));",
            name,
            base64.b64encode(content).decode(),
        )

    def coloured(self, pictures: int = 1) -> None:
        done = "document.querySelectorAll('figure [type=range]:enabled').length"
        self.wait(f"{done} === {pictures}")

    def canvas(self, name: str = "colour") -> np.ndarray:
        """The pixels of the newest photograph's canvas."""
        url = self.run(f"return document.querySelector('canvas.{name}').toDataURL()")
        return pixels(url)

    def downloaded(self, name: str) -> Path:
        path = self.downloads / name
        end = time.monotonic() + 60
        while not path.exists():
            assert time.monotonic() < end, sorted(self.downloads.iterdir())
            time.sleep(0.05)
        return path


def pixels(url: str) -> np.ndarray:
    """The RGB of a PNG in a URL."""
    png = base64.b64decode(url.partition(",")[2])
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


@pytest.fixture
def tab(browser, server, tmp_path):
    """The page, loaded and ready."""
    downloads = tmp_path / "downloads"
    downloads.mkdir()
    tab = Tab(browser, downloads)
    tab.show(WIDE, "light")
    tab.open(server.url)
    tab.wait("document.getElementById('words').textContent === 'Ready.'")
    return tab


def save(picture: np.ndarray, path: Path, size: tuple[int, int] | None = None) -> Path:
    image = Image.fromarray(picture)
    (image.resize(size, Image.Resampling.LANCZOS) if size else image).save(path)
    return path


def by_zoo_colorize(zoo, path: Path, *options: str) -> np.ndarray:
    answer = zoo(
        *("colorize", str(path), "-o", "zoo", "--model", MODEL, "--overwrite", *options),
        *("--device", "cpu", "--precision", "fp32"),
    )
    assert answer.code == 0, answer.stderr
    return np.asarray(Image.open(Path("zoo") / path.name).convert("RGB"))


def assert_same(seen: np.ndarray, expected: np.ndarray) -> None:
    """At most one level off in 99.9 % of the pixels, and three anywhere."""
    assert seen.shape == expected.shape
    off = np.abs(seen.astype(int) - expected).max(axis=2)
    assert (off > 1).mean() <= 0.001
    assert off.max() <= 3
    assert np.ptp(expected, axis=2).mean() > 2, "this is as good as grey"


# ---- colours ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["coffee", "astronaut", "chelsea"])
def test_the_canvas_shows_what_zoo_colorize_writes(tab, zoo, tmp_path, name):
    path = save(getattr(data, name)(), tmp_path / f"{name}.png")
    tab.choose(path)
    tab.coloured()
    assert_same(tab.canvas(), by_zoo_colorize(zoo, path))
    assert f"{name}.png is coloured by {MODEL}, in " in tab.words()


@pytest.mark.parametrize("path", HISTORIC, ids=lambda path: path.stem)
def test_a_historic_photograph_has_the_colours_of_zoo_colorize(tab, zoo, tmp_path, path):
    png = tmp_path / f"{path.stem}.png"
    with Image.open(path) as photograph:
        photograph.save(png)
    tab.choose(png)
    tab.coloured()
    assert_same(tab.canvas(), by_zoo_colorize(zoo, png))


def test_a_grey_photograph_of_an_odd_size_is_coloured_as_zoo_colorize_does(tab, zoo, tmp_path):
    path = tmp_path / "grey.png"
    Image.fromarray(data.astronaut()).convert("L").resize((301, 47)).save(path)
    tab.choose(path)
    tab.coloured()
    assert_same(tab.canvas(), by_zoo_colorize(zoo, path))


def test_a_large_photograph_is_downloaded_as_zoo_colorize_writes_it(tab, zoo, tmp_path):
    path = save(data.coffee(), tmp_path / "A large one.v2.png", (2401, 1600))
    tab.choose(path)
    tab.coloured()
    assert max(tab.canvas().shape) < 2401, "the screen gets a smaller copy"
    tab.run("document.querySelector('figcaption button').click()")
    written = tab.downloaded("A large one.v2-colour.png")
    tab.wait("document.getElementById('words').textContent.includes('2,401 × 1,600 pixels')")
    assert_same(np.asarray(Image.open(written).convert("RGB")), by_zoo_colorize(zoo, path))


def test_saturation_is_that_of_zoo_colorize(tab, zoo, tmp_path):
    path = save(data.coffee(), tmp_path / "coffee.png")
    tab.choose(path)
    tab.coloured()
    set_to = (
        "const s = document.getElementById('saturation'); s.value = arguments[0];"
        "s.dispatchEvent(new Event('input')); window.asked = performance.now();"
    )
    tab.run(set_to, "0")
    tab.wait("performance.now() - window.asked > 2000")
    seen = tab.canvas()
    assert np.array_equal(seen, tab.canvas("grey")), "no colour at all"
    assert np.ptp(seen, axis=2).max() == 0
    tab.run(set_to, "1.5")
    tab.wait("performance.now() - window.asked > 2000")
    assert_same(tab.canvas(), by_zoo_colorize(zoo, path, "--saturation", "1.5"))


def test_a_photograph_lies_as_its_exif_says(tab, tmp_path):
    path = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90° clockwise
    picture = Image.fromarray(data.coffee()).convert("L")
    picture.save(path, exif=exif, quality=95)
    tab.choose(path)
    tab.coloured()
    upright = np.asarray(Image.open(path).transpose(Image.Transpose.ROTATE_270).convert("RGB"))
    assert tab.canvas("grey").shape == upright.shape
    assert np.abs(tab.canvas("grey").astype(int) - upright).mean() < 1


def test_transparency_is_kept(tab, tmp_path):
    pixels = np.dstack((data.coffee()[:60, :80], np.full((60, 80), 255, np.uint8)))
    pixels[:30, :, 3] = 0
    path = tmp_path / "cut out.png"
    Image.fromarray(pixels).save(path)
    tab.choose(path)
    tab.coloured()
    tab.run("document.querySelector('figcaption button').click()")
    alpha = np.asarray(Image.open(tab.downloaded("cut out-colour.png")))[:, :, 3]
    assert np.array_equal(alpha, pixels[:, :, 3])


def test_twelve_megapixels_fit_into_a_gigabyte_and_a_half(tab, tmp_path):
    if not sys.platform.startswith("linux"):
        pytest.skip("the memory of processes is read from /proc")
    path = save(data.astronaut(), tmp_path / "twelve.jpg", (4000, 3000))
    tab.choose(path)
    tab.coloured()
    assert "12.0 megapixels, read in " in tab.text()
    assert "coloured by unet_timm@release, in " in tab.words()
    tab.run("document.querySelector('figcaption button').click()")
    with Image.open(tab.downloaded("twelve-colour.jpg")) as written:
        assert written.size == (4000, 3000)
    driver = tab.browser.service.process.pid
    most = [most_memory(place) for place in Path("/proc").glob("[0-9]*") if shows(place, driver)]
    assert 0.1e9 < max(most) < 1.5e9


def shows(process: Path, driver: int) -> bool:
    """Whether a process shows pages of the browser that this driver started."""
    try:
        if b"--type=renderer" not in (process / "cmdline").read_bytes():
            return False
        while int(process.name) > 1 and process.name != str(driver):
            parent = (process / "stat").read_text().rpartition(")")[2].split()[1]
            process = process.parent / parent
    except OSError:
        return False
    return process.name == str(driver)


def most_memory(process: Path) -> float:
    """The most bytes that a process ever held at once."""
    try:
        lines = (process / "status").read_text().splitlines()
    except OSError:
        return 0
    return next((float(s.split()[1]) * 1024 for s in lines if s.startswith("VmHWM")), 0)


# ---- models ----------------------------------------------------------------------------------


def test_an_exported_file_that_is_dropped_becomes_a_model(tab, folder, tmp_path):
    tab.choose(save(data.coffee(), tmp_path / "coffee.png"))
    tab.coloured()
    tab.drop("mine.onnx", (folder / "models/unet_timm-release.onnx").read_bytes())
    tab.coloured(2)
    assert "mine.onnx" in tab.run("return document.getElementById('models').innerText")
    first, second = tab.run(
        "return [...document.querySelectorAll('canvas.colour')].map((c) => c.toDataURL())"
    )
    assert first == second
    tab.run("document.querySelectorAll('figcaption button')[1].click()")
    tab.downloaded("coffee-colour-mine.onnx.png")
    tab.run("document.querySelector('#models input').click()")
    tab.coloured(1)
    assert tab.run("return document.getElementById('all').hidden")


def test_exported_files_that_come_together_are_models_of_their_own(tab, folder, tmp_path):
    colorizer = zoo_package.load("mean_color", device="cpu")
    colorizer.fit([data.coffee()], budget="2steps", size=64)
    mean, copy = tmp_path / "mean.onnx", tmp_path / "copy.onnx"
    export_onnx(colorizer, mean)
    shutil.copy(folder / "models/unet_timm-release.onnx", copy)
    tab.choose(save(data.coffee(), tmp_path / "coffee.png"), mean, copy)
    tab.coloured(3)
    shown = dict(
        tab.run(
            "return [...document.querySelectorAll('figure')].map((figure) => "
            "[figure.innerText.split(':')[0], figure.querySelector('.colour').toDataURL()])"
        )
    )
    assert shown.keys() == {MODEL, "mean.onnx", "copy.onnx"}
    assert_same(pixels(shown["mean.onnx"]), run(open_session(mean), data.coffee()))
    assert shown["copy.onnx"] == shown[MODEL] != shown["mean.onnx"]
    # Each is chosen for itself, by its name, too.
    tab.run("document.querySelector('#models div:nth-child(2) label').click()")
    tab.coloured(2)
    tab.run("document.querySelector('#models div:nth-child(3) label').click()")
    tab.coloured(1)


@pytest.mark.parametrize("name", ["fc_generator", "zhang_rebalanced", "mean_color"])
def test_what_paints_otherwise_is_shown_as_its_own_graph_has_it(tab, tmp_path, name):
    """Of RGB, of classes, and of one colour."""
    options = {"width": 0.25, "batch_size": 2} if name == "zhang_rebalanced" else {}
    colorizer = zoo_package.load(name, device="cpu", **options)
    colorizer.fit([data.coffee()], budget="2steps", size=64)
    export_onnx(colorizer, tmp_path / "other.onnx")
    tab.choose(save(data.coffee(), tmp_path / "coffee.png"), tmp_path / "other.onnx")
    tab.coloured(2)
    shown = tab.run("return [...document.querySelectorAll('canvas.colour')].at(-1).toDataURL()")
    session = open_session(tmp_path / "other.onnx")
    assert_same(pixels(shown), run(session, data.coffee()))


def other_models():
    from onnx import TensorProto, helper

    image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["h", "w", 3])
    colour = helper.make_tensor_value_info("colour", TensorProto.UINT8, ["h", "w", 3])
    node = helper.make_node("Identity", ["image"], ["colour"])
    model = helper.make_model(helper.make_graph([node], "other", [image], [colour]))
    plain = model.SerializeToString()
    entry = model.metadata_props.add()
    entry.key, entry.value = "colorizer-zoo", '{"format": 1, "model": "other", "size": null}'
    return {
        "of another program": plain,
        "of another program that says it were ours": model.SerializeToString(),
        "text": b"hello",
        "empty": b"",
        "cut": plain[:-7],
    }


@pytest.mark.parametrize("kind", list(other_models()))
def test_another_onnx_file_is_refused_in_words(tab, kind):
    tab.drop("other.onnx", other_models()[kind])
    tab.wait("document.querySelector('#words.bad')")
    assert "other.onnx was not written by zoo export. Type zoo export NAME" in tab.words()
    assert tab.run("return document.querySelectorAll('#models input').length") == 1


def test_a_file_for_one_size_is_refused_with_that_size(tab, folder):
    import onnx

    model = onnx.load_from_string((folder / "models/unet_timm-release.onnx").read_bytes())
    (entry,) = model.metadata_props
    entry.value = entry.value.replace('"size": null', '"size": [768, 1024]')
    assert "768" in entry.value
    tab.drop("fixed.onnx", model.SerializeToString())
    tab.wait("document.querySelector('#words.bad')")
    assert "takes pictures of 1024 × 768 pixels alone" in tab.words()


def test_a_graph_that_ends_in_other_steps_is_refused(tab, folder):
    """It enlarges its chroma twice as strongly: the merge of the page would give other colours."""
    import onnx

    model = onnx.load_from_string((folder / "models/unet_timm-release.onnx").read_bytes())
    resize = [node for node in model.graph.node if node.op_type == "Resize"][-1]
    twice = f"{resize.output[0]}_twice"
    for node in model.graph.node:
        for place, name in enumerate(node.input):
            if name == resize.output[0]:
                node.input[place] = twice
    at = list(model.graph.node).index(resize) + 1
    node = onnx.helper.make_node("Add", [resize.output[0]] * 2, [twice])
    model.graph.node.insert(at, node)
    tab.drop("changed.onnx", model.SerializeToString())
    tab.wait("document.querySelector('#words.bad')")
    assert "changed.onnx ends in other steps than this page knows" in tab.words()


# ---- words for what does not work --------------------------------------------------------------


def png_header(width: int, height: int) -> bytes:
    """A PNG that says how large it is, and holds nothing."""
    content = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", 13)
        + content
        + struct.pack(">I", zlib.crc32(content))
    )


def encoded(kind: str, **keywords) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(data.coffee()).save(stream, kind, **keywords)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("notes.txt", b"no photograph", "notes.txt is not a photograph that this browser reads"),
        ("empty.jpg", b"", "empty.jpg is empty"),
        (
            "a.heic",
            b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99),
            "a.heic is a HEIC photograph",
        ),
        ("a.tif", encoded("TIFF"), "a.tif is a TIFF photograph"),
        ("a.png", png_header(20_000, 10_000), "20,000 × 10,000 pixels, 200.0 megapixels"),
        ("a.png", encoded("PNG")[:3000], "a.png"),
        ("a.jpg", encoded("JPEG")[:300], "a.jpg is damaged"),
        ("a.webp", encoded("WEBP")[:300], "a.webp is damaged"),
    ],
)
def test_what_is_no_photograph_is_told_in_words(tab, name, content, words):
    tab.drop(name, content)
    if words != name:  # browsers show the part of a PNG that is there
        tab.wait("document.querySelector('article.bad')")
        assert words in tab.words()
    tab.drop("whole.png", encoded("PNG"))
    tab.wait("document.querySelector('article [type=range]:enabled')")


@pytest.mark.parametrize(
    ("kind", "name"),
    [("JPEG", "a.jpg"), ("WEBP", "a.webp"), ("AVIF", "a.avif"), ("GIF", "a.gif"), ("BMP", "a.bmp")],
)
def test_sizes_are_read_before_anything_is_decoded(tab, kind, name):
    if kind == "AVIF" and ".avif" not in Image.registered_extensions():
        pytest.skip("this Pillow writes no AVIF")
    for options in ({}, {"lossless": True}) if kind == "WEBP" else ({},):
        stated = tab.browser.execute_async_script(
            "const [text, done] = arguments;"
            "import('/pictures.js').then(({statedSize}) =>"
            " done(statedSize(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)))));",
            base64.b64encode(encoded(kind, **options)).decode(),
        )
        assert stated == [600, 400]


def test_the_page_opened_as_a_file_says_what_to_type(browser, folder, tmp_path):
    tab = Tab(browser, tmp_path)
    tab.open((folder / "index.html").as_uri())
    assert "Type zoo page --serve" in tab.text()
    assert browser.get_log("browser") == []


def test_a_browser_without_webassembly_is_told(browser, server, tmp_path):
    tab = Tab(browser, tmp_path)
    source = {"source": "delete globalThis.WebAssembly"}
    added = browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", source)
    try:
        tab.open(server.url)
        assert "This browser has no WebAssembly" in tab.text()
    finally:
        browser.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", added)


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("models.json", "The page is not whole"),
        ("models/unet_timm-release.onnx", "unet_timm-release.onnx could not be loaded"),
        ("ort/ort-wasm-simd-threaded.wasm", "ort-wasm-simd-threaded.wasm could not be loaded"),
    ],
)
@pytest.mark.parametrize("how", ["missing", "changed"])
def test_a_page_that_is_not_whole_says_so(browser, folder, tmp_path, file, words, how):
    site = tmp_path / "site"
    shutil.copytree(folder, site)
    if how == "missing":
        (site / file).unlink()
    else:
        content = bytearray((site / file).read_bytes())
        content[len(content) // 2] ^= 1
        (site / file).write_bytes(b"[" if file == "models.json" else content)
    server = PageServer(site, 0)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        tab = Tab(browser, tmp_path)
        tab.open(server.url)
        tab.wait(f"document.body.innerText.includes({words!r})")
    finally:
        server.shutdown()
        server.server_close()


# ---- looks and keys --------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_it_fits_and_can_be_read(tab, tmp_path, size, scheme):
    tab.show(size, scheme)
    tab.choose(save(data.coffee(), tmp_path / "a-name-without-any-space-in-it-that-is-long.png"))
    tab.coloured()
    tab.drop("notes.txt", b"hello")
    tab.wait("document.querySelector('article.bad')")
    assert tab.run("return document.documentElement.scrollWidth") <= size[0]
    camera = tab.run("return getComputedStyle(document.getElementById('camera')).display")
    assert (camera != "none") == (size == NARROW)
    pairs = tab.run(
        "const behind = (e) => { for (; e; e = e.parentElement) { const c = "
        "getComputedStyle(e).backgroundColor; if (c !== 'rgba(0, 0, 0, 0)') return c; } };"
        "return [...document.querySelectorAll('h1, h2, p, button, label, small, output, a, span')]"
        ".filter((e) => e.offsetParent && e.textContent && !e.disabled)"
        ".map((e) => [getComputedStyle(e).color, behind(e), e.textContent]);"
    )
    assert len(pairs) > 15
    for ink, ground, text in pairs:
        assert contrast(ink, ground) >= 4.5, (text, ink, ground)
    dark = luminance(tab.run("return getComputedStyle(document.body).backgroundColor")) < 0.1
    assert dark == (scheme == "dark")
    wide = "return Math.min(...[...document.querySelectorAll('button')].filter("
    smallest = tab.run(f"{wide} (b) => b.offsetParent).map((b) => b.offsetHeight))")
    assert smallest >= 24  # WCAG 2.2, target size


def luminance(colour: str) -> float:
    """WCAG's relative luminance of rgb(…)."""
    values = [int(v) / 255 for v in colour.removeprefix("rgb(").removesuffix(")").split(",")]
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in values]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


def contrast(a: str, b: str) -> float:
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


def test_everything_is_done_by_keys(tab):
    from selenium.webdriver import ActionChains, Keys

    def press(*keys: str) -> None:
        ActionChains(tab.browser).send_keys(*keys).perform()

    def focused() -> str:
        return tab.run(
            "const e = document.activeElement;"
            "return e.getAttribute('aria-label') || e.labels?.[0]?.innerText || e.innerText"
        )

    def tab_to(words: str) -> None:
        for _ in range(20):
            press(Keys.TAB)
            if words in focused():
                style = "getComputedStyle(document.activeElement)"
                shown = f"parseFloat({style}.outlineWidth) >= 2 || {style}.opacity === '0'"
                assert tab.run(f"return {shown}"), "the focus is not seen"
                return
        raise AssertionError(f"Tab does not lead to {words}")

    tab_to("Try an example")
    press(Keys.ENTER)
    tab.coloured()
    tab_to("Saturation")
    press(Keys.ARROW_RIGHT)
    assert "105 %" in tab.text()
    tab_to("How much of example.jpg is shown in colour")
    press(*[Keys.ARROW_RIGHT] * 3)
    stage = "document.querySelector('.stage')"
    assert tab.run(f"return {stage}.style.getPropertyValue('--place')") == "53%"
    assert tab.run(f"return getComputedStyle({stage}).outlineStyle") == "solid"
    clipped = tab.run("return getComputedStyle(document.querySelector('.colour')).clipPath")
    assert "47%" in clipped or "53%" in clipped
    tab_to("Download example.jpg")
    press(Keys.SPACE)
    tab.downloaded("example-colour.jpg")
    tab.wait("document.activeElement")
    tab.browser.find_element("css selector", "#models input").send_keys(Keys.SPACE)
    tab.wait("!document.querySelector('figure')")
    assert "unet_timm" in focused()
    tab_to("Remove example.jpg")
    press(Keys.ENTER)
    tab.wait("!document.querySelector('article')")
    assert focused() == "Choose photographs"


# ---- privacy ---------------------------------------------------------------------------------


def test_nothing_is_asked_for_but_the_pages_own_files(tab, server, tmp_path):
    tab.choose(save(data.coffee(), tmp_path / "coffee.png"))
    tab.coloured()
    tab.run("document.querySelector('figcaption button').click()")
    tab.downloaded("coffee-colour.png")
    urls = requested(tab.browser)
    here = (server.url, f"blob:{server.url}", "data:", "chrome:", "chrome-untrusted:", "about:")
    assert f"{server.url}models.json" in urls
    assert [url for url in urls if not url.startswith(here)] == []
    # What the worker asks for is not in this log. Had it tried another place, the browser would
    # have refused, as the next test shows, and said so here.
    assert tab.browser.get_log("browser") == []


def test_neither_the_page_nor_its_worker_may_send_anything_elsewhere(tab, file_server):
    url = file_server.url("stolen")
    sent = "fetch(url, {method: 'POST', body: 'photograph', mode: 'no-cors'})"
    script = (
        f"const url = {url!r}, done = arguments[0], made = [];"
        f"const text = `const url = {url!r}; {sent}.then(() => postMessage('sent'), () => "
        "postMessage('refused'))`;"
        "const worker = new Worker(URL.createObjectURL(new Blob([text], "
        "{type: 'text/javascript'})), {type: 'module'});"
        f"worker.onmessage = ({{data}}) => {sent}"
        ".then(() => done([data, 'sent']), () => done([data, 'refused']));"
    )
    assert tab.browser.execute_async_script(script) == ["refused", "refused"]
    tab.run(f"new Image().src = {url!r}")
    time.sleep(0.5)
    assert file_server.requests == []


# ---- zoo page --serve ------------------------------------------------------------------------


def test_the_page_is_served_until_ctrl_c(folder):
    """The models come out of the cache, where the page of these tests has put them."""
    command = ["-m", "zoo", "page", "--serve", "--port", "0", "--no-browser", "--models", MODEL]
    with subprocess.Popen(
        [sys.executable, "-u", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"no_proxy": "127.0.0.1"},
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        said = next(line for line in process.stdout if "the page is at" in line)
        url = next(word for word in said.split() if word.startswith("http"))
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(url, timeout=20) as answer:
            assert b"Colour for old photographs" in answer.read()
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
        assert process.stderr.read() == "stopped\n"
