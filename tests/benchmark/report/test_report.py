"""The report: everything escaped, nothing from a network, and it works in a real browser."""

from __future__ import annotations

import json
import re
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from network import from_elsewhere, requested
from sealing import seal

from zoo import registry
from zoo.data.dataset import ImageSet
from zoo_benchmark.report.pictures import ab_histogram, make_gallery
from zoo_benchmark.report.redraw import redraw
from zoo_benchmark.results.run_folder import open_run

EVIL = "</script><script>document.title='evil'</script><img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def run(
    finished: Any, painter: str, floors: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A real run with a timing added, a failed row, and labels and errors that bite."""
    folder = tmp_path_factory.mktemp("report") / "run"
    shutil.copytree(finished.out, folder)
    manifest = json.loads((folder / "run.json").read_text())
    for number, entry in enumerate(manifest["cells"]):
        entry["timing"] = f"timing-{number}"
        rows = [
            {
                "device": "cpu",
                "hardware": hardware,
                "images_per_s": 100.0 * (number + 1) * faster,
                "latency_ms": 10.0,
                "control": {"images_per_s": 1.0, "spread": 0.1, "version": 1},
            }
            for hardware, faster in (("a small CPU", 1), ("a large CPU", 4))
        ]
        (folder / "cells" / entry["timing"]).mkdir()
        result = {"status": "ok", "error": "", "throughput": rows}
        (folder / "cells" / entry["timing"] / "result.json").write_text(json.dumps(result))
        seal(folder / "cells" / entry["timing"])
    failed = {"label": EVIL, "model": "gone", "repetition": 0, "key": "failed", "timing": None}
    manifest["cells"].append(failed | {"floor": False})
    manifest["notes"].append(EVIL)
    (folder / "attempts" / "failed").mkdir(parents=True)
    result = {"status": "failed", "error": EVIL, "traceback": f"Traceback: {EVIL}"}
    (folder / "attempts" / "failed" / "result.json").write_text(json.dumps(result))
    (folder / "run.json").write_text(json.dumps(manifest))
    redraw(folder)
    return folder


@pytest.fixture
def page(browser: Any, run: Path) -> Any:
    for log in ("browser", "performance"):
        browser.get_log(log)
    browser.get((run / "report.html").as_uri())
    return browser


def _column(page: Any, number: int) -> list[str]:
    return page.execute_script(
        "return [...document.querySelectorAll('#leaderboard tbody tr')]"
        ".map((row) => row.children[arguments[0]].dataset.value)",
        number,
    )


def test_nothing_bites(run: Path, page: Any) -> None:
    text = (run / "report.html").read_text()
    assert EVIL not in text
    assert page.title != "evil"
    labels = page.execute_script(
        "return [...document.querySelectorAll('#leaderboard tbody th')].map((e) => e.textContent)"
    )
    assert any(EVIL in label for label in labels)
    assert not page.execute_script("return document.querySelectorAll('img[src=x]').length")
    log = page.execute_script("return document.querySelector('article.failed pre').textContent")
    assert EVIL in log
    assert EVIL not in (run / "report.md").read_text()


def test_what_a_reader_of_the_protocol_must_know_stands_out(run: Path, page: Any) -> None:
    caution = json.loads((run / "run.json").read_text())["protocol"]["note"]
    assert caution
    (said,) = page.find_elements("css selector", ".note.warning")
    assert caution in said.text


def test_no_errors_and_no_network(page: Any) -> None:
    time.sleep(0.5)
    assert page.get_log("browser") == []
    urls = requested(page)
    assert any(url.endswith("/report.html") for url in urls)
    assert from_elsewhere(urls) == []


def test_the_table_sorts_by_numbers_both_ways(page: Any) -> None:
    headings = page.find_elements("css selector", "#leaderboard thead th")
    number = next(i for i, h in enumerate(headings) if h.text.startswith("PSNR"))
    button = headings[number].find_element("tag name", "button")
    for direction in ("ascending", "descending"):
        button.click()
        assert headings[number].get_attribute("aria-sort") == direction
        values = _column(page, number)
        assert values[-1] == ""  # what failed has none, and stays last
        found = [float(value) for value in values[:-1]]
        assert found == sorted(found, reverse=direction == "descending")
        assert len(set(found)) > 1
    headings[0].find_element("tag name", "button").click()
    names = _column(page, 0)
    assert sorted(names, key=str.lower) == sorted(names, key=names.index)
    assert headings[number].get_attribute("aria-sort") == "none"


def test_pictures_step_by_key_and_button(page: Any, finished: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    box = page.find_element("id", "browser")
    page.execute_script("arguments[0].scrollIntoView({behavior: 'instant'})", box)
    place = page.find_element("id", "picture-place")
    seen = [place.text]
    for _ in range(2):
        box.send_keys(Keys.ARROW_RIGHT)
        seen.append(place.text)
    assert len(set(seen)) == 3
    box.send_keys(Keys.ARROW_LEFT)
    assert place.text == seen[1]
    page.find_element("id", "previous").click()
    assert place.text == seen[0]
    page.find_element("id", "previous").click()
    assert re.search(r"(\d+) of \1$", place.text)  # round the corner
    tiles = page.find_elements("css selector", "#tiles figure")
    assert len(tiles) == 2 + len(finished.models)
    loaded = "return [...document.querySelectorAll('#tiles img')].every((i) => i.naturalWidth > 0)"
    time.sleep(0.3)
    assert page.execute_script(loaded)


def _chosen_first(page: Any, model: str, metric: str, order: str) -> str:
    """The picture that is shown first in an order."""
    from selenium.webdriver.support.ui import Select

    for name, value in (("model", model), ("metric", metric), ("order", order)):
        Select(page.find_element("id", f"picture-{name}")).select_by_value(value)
    return page.find_element("id", "picture-place").text.partition(" ·")[0]


def _kept_scores(folder: Path, model: str, metric: str) -> pd.Series:
    """A model's scores of the pictures that the report can show, by name."""
    run = open_run(folder)
    assert run.truth is not None
    wanted = (run.scores["model"] == model) & (run.scores["metric"] == metric)
    return run.scores[wanted].set_index("image")["value"].loc[list(run.truth.ids)]


def test_best_and_worst_are_by_the_scores(page: Any, finished: Any, painter: str) -> None:
    values = _kept_scores(finished.out, painter, "psnr")
    for order, expected in (("best", values.idxmax()), ("worst", values.idxmin())):
        assert _chosen_first(page, painter, "psnr", order) == expected


def test_the_best_colourfulness_is_the_truth_s(page: Any, finished: Any, painter: str) -> None:
    values = _kept_scores(finished.out, painter, "colourfulness_difference")
    assert values.idxmin() != _kept_scores(finished.out, painter, "colourfulness").idxmin()
    for order, expected in (("best", values.idxmin()), ("worst", values.idxmax())):
        assert _chosen_first(page, painter, "colourfulness", order) == expected


def test_a_picture_without_an_error_is_the_best(
    browser: Any, finished: Any, painter: str, tmp_path: Path
) -> None:
    folder = tmp_path / "perfect"
    shutil.copytree(finished.out, folder)
    name = _kept_scores(folder, painter, "psnr").idxmin()
    (cell,) = (cell for cell in open_run(folder).cells if cell.label == painter)
    scores = pd.read_csv(cell.folder / "scores.csv")
    scores.loc[(scores["image"] == name) & (scores["metric"] == "psnr"), "value"] = np.inf
    scores.to_csv(cell.folder / "scores.csv", index=False)
    seal(cell.folder)
    redraw(folder)
    browser.get((folder / "report.html").as_uri())
    assert _chosen_first(browser, painter, "psnr", "best") == name
    assert _chosen_first(browser, painter, "psnr", "worst") != name
    assert browser.get_log("browser") == []


def test_selects_change_the_plots(page: Any) -> None:
    from selenium.webdriver.support.ui import Select

    def points(plot: str) -> Any:
        return page.execute_script(
            "return document.getElementById(arguments[0]).data.map((t) => [t.x, t.y])", plot
        )

    before = points("speed-plot")
    hardware = Select(page.find_element("id", "speed-hardware"))
    assert {o.text for o in hardware.options} == {"cpu · a small CPU", "cpu · a large CPU"}
    hardware.select_by_index(1)
    assert points("speed-plot") != before
    before = points("learning-plot")
    Select(page.find_element("id", "learning-cost")).select_by_value("steps")
    after = points("learning-plot")
    assert after != before
    assert [1, 2] in [x for x, _ in after]


def test_the_front_is_that_of_pareto(page: Any) -> None:
    front, *points = page.execute_script(
        "return document.getElementById('speed-plot').data.map((t) => [t.x, t.y])"
    )
    found = [(x[0], y[0]) for x, y in points]
    best = [p for p in found if not any(q[0] >= p[0] and q[1] > p[1] for q in found if q != p)]
    assert sorted(zip(*front, strict=True)) == sorted(best)


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_the_page_fits_its_width(page: Any, width: int) -> None:
    metrics = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 700}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        page.refresh()
        time.sleep(0.5)
        assert page.execute_script("return document.documentElement.scrollWidth") <= width
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_dark_and_light(page: Any) -> None:
    grounds = {}
    for scheme in ("dark", "light"):
        feature = {"name": "prefers-color-scheme", "value": scheme}
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
        time.sleep(0.3)
        grounds[scheme] = [
            page.execute_script("return getComputedStyle(document.body).backgroundColor"),
            page.execute_script(
                "return document.getElementById('learning-plot').layout.font.color"
            ),
        ]
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    bright = [sum(map(int, re.findall(r"\d+", grounds[s][0])[:3])) for s in ("dark", "light")]
    assert bright[0] < 200 < 600 < bright[1]
    assert grounds["dark"][1] != grounds["light"][1]


# ---- without a browser ----------------------------------------------------------------------


def test_a_run_with_next_to_nothing(finished: Any, tmp_path: Path) -> None:
    folder = tmp_path / "bare"
    shutil.copytree(finished.out, folder)
    for name in ("truth.npz", "references.csv", "showcase.npz"):
        (folder / name).unlink()
    for cell in (folder / "cells").iterdir():
        (cell / "predictions.npz").unlink()
        pd.read_csv(cell / "learning.csv").head(0).to_csv(cell / "learning.csv", index=False)
        seal(cell)
    redraw(folder)
    assert "No pictures were kept" in (folder / "report.html").read_text()
    shutil.rmtree(folder / "cells")
    comparison = redraw(folder)
    assert set(comparison.board["status"]) == {"not run"}
    assert (folder / "report.html").is_file()


def test_markdown_has_a_row_per_model(run: Path, finished: Any) -> None:
    text = (run / "report.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    for model in finished.models:
        name = model.replace("_", "\\_")
        (row,) = [line for line in rows if line.lstrip("| ≈").startswith(name)]
        assert "±" in row
    assert "zoo bench" in text or "-m zoo" in text or "bench --models" in text


def test_parquet_holds_the_scores(run: Path) -> None:
    pytest.importorskip("pyarrow")
    pd.testing.assert_frame_equal(
        pd.read_parquet(run / "scores.parquet"), pd.read_csv(run / "scores.csv")
    )


def test_the_gallery_starts_with_the_best_and_the_worst(tiles: np.ndarray) -> None:
    ids = [f"i{n}" for n in range(len(tiles))]
    values = np.random.default_rng(0).random(len(tiles))
    scores = pd.DataFrame({"model": "m", "image": ids, "metric": "lpips", "value": values})
    pictures = ImageSet(tiles, ids)
    gallery = make_gallery(pictures, {"m": pictures}, scores, "lpips", lower_is_better=True)
    assert gallery.ids[:2] == [ids[values.argmin()], ids[values.argmax()]]
    assert sorted(gallery.ids) == sorted(ids)
    assert all(uri.startswith("data:image/webp;base64,") for uri in gallery.models["m"])


def test_the_gallery_starts_with_what_is_nearest_to_a_truth_to_be_matched(
    finished: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(finished.out, folder)
    manifest = json.loads((folder / "run.json").read_text())
    manifest["metrics"] = {"colourfulness": manifest["metrics"]["colourfulness"]}
    (folder / "run.json").write_text(json.dumps(manifest))
    redraw(folder)
    text = (folder / "report.html").read_text()
    (found,) = re.findall(r'<script type="application/json" id="data">(.*)</script>', text)
    data = json.loads(found)
    values = _kept_scores(
        folder, next(iter(data["pictures"]["models"])), "colourfulness_difference"
    )
    assert data["pictures"]["ids"][:2] == [values.idxmin(), values.idxmax()]
    # Nothing that the page does not read: it is as large as it is.
    read = {"ids", "all", "grey", "truth", "models", "errors", "scores"}
    assert data["pictures"].keys() == read


def test_a_histogram_knows_how_colourful_its_pictures_are(tiles: np.ndarray) -> None:
    from skimage.color import rgb2lab

    lab = rgb2lab(tiles)
    found = ab_histogram(ImageSet(tiles, [str(n) for n in range(len(tiles))]))
    expected = np.hypot(lab[..., 1], lab[..., 2]).mean()
    assert found.mean_chroma == pytest.approx(expected, abs=0.05)


def test_every_built_in_model_has_a_card(run: Path, finished: Any) -> None:
    text = (run / "report.html").read_text()
    for model in finished.models:
        assert registry.colorizer_class(model).info.title.partition("&")[0] in text
    assert "Not installed here any more" in text
