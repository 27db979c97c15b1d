"""Run folders that somebody else made: one clear line or row for whatever is wrong in them."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from sealing import seal

from zoo.errors import InputError
from zoo_benchmark.bench import _is_wanted
from zoo_benchmark.report.progress import Bar
from zoo_benchmark.report.redraw import redraw
from zoo_benchmark.results.compare import compare_runs
from zoo_benchmark.results.run_folder import Cell, open_run
from zoo_benchmark.settings import choose_folder
from zoo_benchmark.store import Store

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n"


@pytest.fixture
def run(finished: Any, tmp_path: Path) -> Path:
    shutil.copytree(finished.out, tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def cell(run: Path) -> Cell:
    return open_run(run).cells[0]


def edit(file: Path, *path: Any, value: Any) -> None:
    content = json.loads(file.read_text())
    inner = content
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    file.write_text(json.dumps(content))


class _Silent:
    def bar(self, name: str) -> Bar:
        return lambda state, done, total: None

    def say(self, line: str) -> None:
        pass


def status(run: Path, cell: Cell) -> str:
    (row,) = (c for c in open_run(run).cells if c.key == cell.key)
    assert not row.ok
    return str(row.result["error"])


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("cells", 0, "repetition"), "x/../../../victim", "cells[0].repetition must be a whole"),
        (("cells", 0, "repetition"), True, "must be a whole number, got True"),
        (("cells", 0, "repetition"), -1, "must be a whole number"),
        (("cells", 0, "key"), "../../outside", "cells[0].key must be a plain name"),
        (("cells", 0, "key"), "/etc", "must be a plain name"),
        (("cells", 0, "timing"), "..", "must be a plain name"),
        (("cells", 0), [], "cells[0] must be an object"),
        (("cells",), {}, "cells must be a list"),
        (("store",), "/", "store must be cells or ../.cells"),
        (("protocol",), None, "protocol must be an object"),
        (("protocol", "version"), "1", "protocol.version must be a whole number"),
        (("metrics",), {"status": 1}, "no name of a metric"),
        (("directions",), {"psnr": "up"}, "must be higher or lower or match"),
        (("data", "splits"), {}, "data.splits.test is missing"),
        (("title",), 7, "title must be text"),
        (("command",), "zoo", "command must be a list"),
        (("seconds",), {"whole": 0}, "seconds.whole must be a number above 0"),
        (("conditions",), {"../x": 1}, "a key of conditions must be a plain name"),
        (("conditions",), {"jpeg75": "1"}, "conditions.jpeg75 must be a whole number"),
        (("cells", 0, "conditions"), {"jpeg75": "../x"}, "jpeg75 must be a plain name"),
        (("protocol", "grey_chroma"), "no", "protocol.grey_chroma must be a number"),
    ],
)
def test_run_json(run: Path, path: tuple[Any, ...], value: Any, said: str) -> None:
    edit(run / "run.json", *path, value=value)
    for look in (open_run, redraw, lambda folder: compare_runs(folder, folder)):
        with pytest.raises(InputError) as caught:
            look(run)
        assert said in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"[]", b"[" * 100_000, b'{"format": 1', b"\xff\xfe\x00"])
def test_run_json_that_is_none(run: Path, content: bytes) -> None:
    (run / "run.json").write_bytes(content)
    with pytest.raises(InputError, match=r"run\.json"):
        open_run(run)


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("status",), "fine", "status must be ok or failed"),
        (("training",), [], "training must be an object"),
        (("training", "cost"), {}, "training.cost.seconds is missing"),
        (("training", "cost", "steps"), "2", "training.cost.steps must be a whole number"),
        (("params",), 10**40, "params must be a whole number"),
        (("set_scores",), {"model": 1.0}, "no name of a metric"),
        (("set_halves",), {"fid": "wide"}, "set_halves.fid must be a number"),
        (("images_scored",), "9", "images_scored must be a whole number"),
        (("seconds",), {"training": None}, "seconds.training must be a number"),
        (("environment",), [1], "environment must be an object"),
        (("peak_memory_mb",), float("nan"), "peak_memory_mb must be a number"),
    ],
)
def test_result_json(run: Path, cell: Cell, path: tuple[Any, ...], value: Any, said: str) -> None:
    edit(cell.folder / "result.json", *path, value=value)
    assert status(run, cell) == "damaged: result.json was changed"
    seal(cell.folder)
    assert said in status(run, cell)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("result.json", b"[" * 100_000, "nested too deep"),
        ("scores.csv", b"", "no table"),
        ("scores.csv", b"image,metric,value\na,psnr,abc\n", "value holds what is no number"),
        ("scores.csv", b"image,metric,value\na,status,1\n", "no name of a metric"),
        ("scores.csv", b"image,metric,value\na,psnr,1,2\n", "no table"),
        ("scores.csv", b'image,metric,value\n"a,psnr,1\n', "no table"),
        ("learning.csv", b"metric,value\n", "lacks the column share"),
        ("curve.csv", b"\xff\xfe", "no table"),
        ("predictions.npz", b"PK", "cannot be read"),
    ],
)
def test_files_of_a_cell(run: Path, cell: Cell, name: str, content: bytes, said: str) -> None:
    (cell.folder / name).write_bytes(content)
    assert status(run, cell) == f"damaged: {name} was changed"
    seal(cell.folder)
    assert said in status(run, cell)
    assert said in str(Store(cell.folder.parent).flaw(cell.key))  # the bench makes it again


def test_scores_that_were_cut_are_a_row_that_says_so(run: Path, cell: Cell) -> None:
    file = cell.folder / "scores.csv"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    board = redraw(run).board.set_index("model")
    assert board.loc[cell.label, "status"] == "damaged: scores.csv was changed"
    assert set(board.drop(index=cell.label)["status"]) == {"ok"}


@pytest.mark.parametrize("content", [b"[]", b"[" * 100_000, b'{"../x": "0"}', b'{"a": 1}'])
def test_checksums_that_are_none(run: Path, cell: Cell, content: bytes) -> None:
    (cell.folder / "files.json").write_bytes(content)
    assert status(run, cell).startswith("damaged: files.json")


@pytest.mark.parametrize("name", ["log.txt", "scores.csv", "weights.safetensors", "showcase"])
def test_no_link_of_a_cell_is_followed(run: Path, cell: Cell, tmp_path: Path, name: str) -> None:
    secret = tmp_path / "secret"
    (cell.folder / name).rename(secret)
    (cell.folder / name).symlink_to(secret)
    assert status(run, cell) == f"damaged: {name} is a link, or no plain file"
    redraw(run)


def test_a_pipe_is_not_waited_for(run: Path, cell: Cell) -> None:
    (cell.folder / "log.txt").unlink()
    os.mkfifo(cell.folder / "log.txt")
    assert "log.txt is a link, or no plain file" in status(run, cell)
    assert open_run(run).cells[0].log() == ""


@pytest.mark.parametrize(
    "name", ["weights", "cells", "attempts", "external", "at", ".lock", "inputs.npz"]
)
def test_no_link_of_a_run_is_written_through(run: Path, tmp_path: Path, name: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    shutil.rmtree(run / name, ignore_errors=True)
    (run / name).symlink_to(outside)
    with pytest.raises(InputError, match=f"{name} is a link"):
        redraw(run)
    assert not list(outside.iterdir())


def test_pictures_go_through_the_one_reader(
    run: Path, cell: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", pytest.fail)
    (cell.folder / "showcase" / "00.png").write_bytes(EPS)
    seal(cell.folder)
    notes = redraw(run).notes
    assert any("00.png" in note for note in notes if "a picture cannot be shown" in note)
    with Image.open(run / "samples.png") as sheet:
        sheet.verify()


def test_names_stay_text_in_page_and_terminal(run: Path) -> None:
    edit(run / "run.json", "cells", 0, "label", value='a<!--b</script>\x1b[31m\n"')
    edit(run / "run.json", "title", value="\x1b]0;x\x07title")
    redraw(run)
    page = (run / "report.html").read_text(encoding="utf-8")
    start = page.index('id="data">') + len('id="data">')
    data = page[start : page.index("</script>", start)]
    assert "<" not in data
    assert 'a<!--b</script>\ufffd[31m "' in json.loads(data)["labels"]
    assert "\x1b" not in page + (run / "report.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("facts", ["[", '{"name": "../x"}', '{"name": 1}', "{}"])
def test_rows_of_other_programs(run: Path, facts: str) -> None:
    (run / "external" / "x").mkdir(parents=True)
    (run / "external" / "x" / "external.json").write_text(facts)
    board = redraw(run).board.set_index("model")
    assert board.loc["x", "status"].startswith("damaged: external.json")


def test_a_pipe_in_such_a_row_is_not_waited_for(run: Path) -> None:
    (run / "external" / "x").mkdir(parents=True)
    os.mkfifo(run / "external" / "x" / "external.json")
    board = redraw(run).board.set_index("model")
    assert board.loc["x", "status"] == "damaged: external.json is a link, or no plain file"


@pytest.mark.parametrize(
    ("conditions", "said"),
    [
        ({"../x": {}}, "a key of conditions must be a plain name"),
        ({"jpeg75": {"set_scores": {"fid": "low"}}}, "set_scores.fid must be a number"),
        ({"jpeg75": {"count": "all"}}, "conditions.jpeg75.count must be a whole number"),
        ({"jpeg75": {}}, "under jpeg75, scores.csv is no table"),
    ],
)
def test_rows_of_other_programs_under_conditions(
    run: Path, cell: Cell, conditions: dict[str, Any], said: str
) -> None:
    row = run / "external" / "x"
    row.mkdir(parents=True)
    shutil.copy(cell.folder / "scores.csv", row)
    (row / "external.json").write_text(json.dumps({"name": "x"}))
    assert open_run(run).externals[0].flaw == ""
    (row / "external.json").write_text(json.dumps({"name": "x", "conditions": conditions}))
    assert said in open_run(run).externals[0].flaw


@pytest.fixture
def under(run: Path, cell: Cell) -> Path:
    """A cell's folder under a condition, as the bench leaves it."""
    folder = cell.folder.parent / "scored-jpeg75"
    folder.mkdir()
    shutil.copy(cell.folder / "scores.csv", folder)
    result = {"spec": {"condition": "jpeg75"}, "status": "ok", "error": "", "set_scores": {}}
    (folder / "result.json").write_text(json.dumps({**result, "images_scored": 9}))
    seal(folder)
    edit(run / "run.json", "conditions", value={"clean": 1, "jpeg75": 1})
    edit(run / "run.json", "cells", 0, "conditions", value={"jpeg75": folder.name})
    return folder


def test_scores_under_a_condition_are_read(run: Path, cell: Cell, under: Path) -> None:
    assert Store(under.parent).flaw(under.name) is None
    scored = open_run(run).under("jpeg75").scores
    assert len(scored) == len(cell.scores())


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("scores.csv", b"image,metric,value\na,psnr,abc\n", "value holds what is no number"),
        ("result.json", b'{"status": "ok", "error": ""}', "spec is missing"),
        (
            "result.json",
            b'{"status": "ok", "error": "", "spec": {}, "images_scored": -1}',
            "images_scored must be a whole number",
        ),
    ],
)
def test_a_damaged_scoring_under_a_condition_is_a_failure(
    run: Path, cell: Cell, under: Path, name: str, content: bytes, said: str
) -> None:
    (under / name).write_bytes(content)
    seal(under)
    comparison = redraw(run)
    (reason,) = (why for label, why in comparison.failures if label == cell.label)
    assert reason.startswith("jpeg75: damaged: ")
    assert said in reason
    noted = f"{cell.label} was not scored under {reason}"
    assert noted in comparison.notes
    assert comparison.board.set_index("model").loc[cell.label, "status"] == "ok"


@pytest.mark.usefixtures("under")
def test_pictures_of_the_inputs_are_checked(run: Path) -> None:
    (run / "inputs.npz").write_bytes(b"PK")
    with pytest.raises(InputError, match=r"inputs\.npz cannot be read"):
        redraw(run)


@pytest.mark.parametrize("result", ["[", '{"status": "ok", "error": ""}'])
def test_what_an_attempt_left_damaged_is_not_taken(tmp_path: Path, result: str) -> None:
    (tmp_path / "attempts" / "key").mkdir(parents=True)
    (tmp_path / "attempts" / "key" / "result.json").write_text(result)
    store = Store(tmp_path / "cells")
    assert _is_wanted("key", False, store, tmp_path / "attempts", _Silent())
    assert not store.path("key").exists()


def test_the_bench_opens_it_with_the_same_care(run: Path) -> None:
    assert choose_folder(run) == run
    (run / "run.json").write_text("[]")
    with pytest.raises(InputError, match=r"is a damaged run \(run\.json.* name another, or delete"):
        choose_folder(run)
    with pytest.raises(InputError, match=r"run\.json"):
        redraw(run)
