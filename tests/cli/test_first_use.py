"""`zoo colorize` with no option, its sheets of several models, and `zoo.colorize`."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from documents import help_texts
from PIL import Image
from safetensors.torch import safe_open, save_file
from skimage import data
from skimage.color import rgb2lab

import zoo as package
import zoo.weights.published as published
from zoo import default, registry
from zoo.errors import InputError, WeightsError
from zoo.pipeline import sheet

USED = (
    "by unet_timm@release (Apache-2.0; likely colours, not the true ones), seen by the network "
    "at 64 px, which --working-size changes"
)


@pytest.fixture
def scans(zoo):
    """Two grey scans in a folder of the folder that commands are typed in, and one beside it."""
    Path("scans/1927").mkdir(parents=True)
    grey = Image.fromarray(data.camera()[::4, ::4])
    grey.save("scans/a.jpg")
    grey.save("scans/1927/b.png")
    grey.save("old.jpg")
    return Path()


@pytest.fixture
def unet_timm_alone(monkeypatch):
    """Of the weights that come along, those of `unet_timm` alone."""
    listed, problems = published.read_manifests()
    kept = [each for each in listed if each.name != "release" or each.model == "unet_timm"]
    monkeypatch.setattr(published, "read_manifests", lambda: (kept, problems))


def files_below(folder):
    return sorted(str(path) for path in folder.rglob("*") if path.is_file())


# ---- no option ------------------------------------------------------------------------------


def test_a_folder_is_coloured_beside_itself(zoo, scans):
    said = zoo("colorize", "scans/")
    assert (said.code, said.stderr) == (0, "")
    first, used = said.stdout.splitlines()
    assert first.startswith("2 photographs coloured in ")
    assert first.endswith(": scans-colour/")
    assert used == USED
    assert files_below(scans / "scans-colour") == ["scans-colour/1927/b.png", "scans-colour/a.jpg"]
    with Image.open("scans-colour/1927/b.png") as made:
        assert np.hypot(*np.moveaxis(rgb2lab(np.asarray(made))[..., 1:], 2, 0)).mean() > 2

    again = zoo("colorize", "scans/")
    assert (again.code, again.stdout) == (2, "")
    assert again.stderr == (
        "error: scans-colour/1927/b.png and 1 more exist already; type --overwrite, or another -o\n"
    )


def test_a_file_is_coloured_beside_itself(zoo, scans):
    said = zoo("colorize", "old.jpg")
    assert (said.code, said.stderr) == (0, "")
    assert said.stdout.splitlines()[0].endswith(": old-colour.jpg")
    assert zoo("colorize", "old.jpg", "--format", "png").code == 0
    assert (scans / "old-colour.png").is_file()
    said = zoo("colorize", "old.jpg")
    assert said.code == 2
    assert said.stderr == (
        "error: old-colour.jpg exists already; type --overwrite, or another -o\n"
    )


def test_earlier_results_are_no_photographs(zoo, scans):
    assert zoo("colorize", "old.jpg", "scans").stdout.splitlines()[0].endswith("and 2 more")
    before = files_below(scans)
    said = zoo("colorize", "*.jpg", "scans", "--overwrite")
    assert said.code == 0
    assert said.stderr == (
        "note: passed over: 1 earlier result beside its photograph (old-colour.jpg)\n"
    )
    assert files_below(scans) == before
    # A folder above them knows both kinds; what is named itself is coloured.
    said = zoo("colorize", ".", "--json")
    assert "3 earlier results beside their photographs" in said.stderr
    assert [row["input"] for row in json.loads(said.stdout)] == [
        *("old.jpg", "scans/1927/b.png", "scans/a.jpg"),
    ]
    assert zoo("colorize", "scans-colour").code == 0
    assert len(files_below(scans / "scans-colour-colour")) == 2


def test_a_folder_that_nothing_lies_beside(zoo):
    said = zoo("colorize", "/")
    assert said.code == 2
    assert said.stderr == ("error: / has nothing beside it to write to; type -o and a folder\n")


def test_help_names_the_default(zoo):
    text = " ".join(help_texts()["colorize"].split())
    assert f"[default: {published.DEFAULT}]" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name photographs to colour: a file, a folder or a pattern, as scans/"),
        (["old.jpg", "--model", "nothing"], "unknown colorizer 'nothing'"),
        (["old.jpg", "--model", "gray"], "did you mean 'grey'"),
        (["old.jpg", "--weights", "x.safetensors"], "Type --model NAME@x.safetensors"),
        (["old.jpg", "--models", "all", "--model", "grey"], "for which --model means nothing"),
        (["old.jpg", "--models", "all", "--compare"], "for which --compare means nothing"),
        (["old.jpg", "--models", "grey"], "grey needs weights"),
        (["old.jpg", "--models", "unet_tim"], "did you mean 'unet_timm'"),
        (["old.jpg", "--models", "unet_timm,unet_timm@release"], "is asked for twice"),
        (["old.jpg", "--models", "unet_timm@no.safetensors"], "there are no weights at no.safe"),
    ],
)
def test_mistakes_are_one_line_before_any_work(zoo, scans, arguments, message):
    before = files_below(scans)
    said = zoo("colorize", *arguments)
    assert (said.code, said.stdout) == (2, "")
    assert message in said.stderr
    assert said.stderr.startswith("error: ")
    assert said.stderr.count("\n") == 1
    assert files_below(scans) == before


def test_a_model_without_weights_that_came_along(zoo, scans, unet_timm_alone):
    said = zoo("colorize", "old.jpg", "--model", "zhang_rebalanced")
    assert (said.code, said.stdout) == (2, "")
    assert "zoo weights list, as zhang_rebalanced@ecc" in said.stderr
    assert said.stderr.count("\n") == 1


def test_a_model_alone_takes_the_weights_that_came_along(zoo, scans):
    said = zoo("colorize", "old.jpg", "--model", "unet_timm", "--working-size", "full")
    assert said.code == 0
    assert said.stdout.splitlines()[1].startswith("by unet_timm@release (Apache-2.0;")
    assert "seen by the network at its own size" in said.stdout


def test_several_that_came_along_are_a_question(monkeypatch):
    (release,) = [w for w in published.published("unet_timm") if w.name == "release"]
    other = dataclasses.replace(release, name="other")
    monkeypatch.setattr(published, "read_manifests", lambda: ([other, release], []))
    with pytest.raises(WeightsError, match=r"unet_timm needs weights: .* as unet_timm@other"):
        published.weights_for("unet_timm")


# ---- what stands in the way -----------------------------------------------------------------


def test_an_installation_without_its_weights(zoo, scans, monkeypatch):
    (release,) = [w for w in published.published("unet_timm") if w.name == "release"]
    gone = dataclasses.replace(release, file=release.file.with_name("gone.safetensors"))
    monkeypatch.setattr(published, "read_manifests", lambda: ([gone], []))
    before = files_below(scans)
    for more in ([], ["--models", "unet_timm@release"]):
        said = zoo("colorize", "old.jpg", *more)
        assert (said.code, said.stdout) == (2, "")
        assert said.stderr.startswith("error: unet_timm@release should have come along as ")
        assert said.stderr.endswith(
            "gone.safetensors; install colorizer-zoo again, or git restore the file in a checkout\n"
        )
    said = zoo("colorize", "old.jpg", "--models", "all")
    assert said.code == 2
    assert "error: no model has weights on this computer: unet_timm@release (" in said.stderr
    (row,) = json.loads(zoo("weights", "list", "--json").stdout)
    assert row["status"] == "missing"
    assert files_below(scans) == before


def test_weights_of_an_earlier_format(zoo, scans):
    (release,) = [w for w in published.published("unet_timm") if w.name == "release"]
    with safe_open(release.file, framework="pt") as stored:
        metadata = json.loads(stored.metadata()["colorizer-zoo"])
        tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    earlier = json.dumps(metadata | {"format": 1, "zoo_version": "0.0.9"})
    save_file(tensors, "earlier.safetensors", metadata={"colorizer-zoo": earlier})
    said = zoo("colorize", "old.jpg", "--model", "unet_timm@earlier.safetensors")
    assert (said.code, said.stdout) == (2, "")
    assert said.stderr.startswith(
        "error: earlier.safetensors has weights format 1, this zoo reads 2; it was written by "
        "colorizer-zoo 0.0.9"
    )
    assert said.stderr.count("\n") == 1


def test_photographs_in_colour_are_told_of(zoo, scans):
    Image.fromarray(data.coffee()[::4, ::4]).save("scans/cup.png")
    grey = np.asarray(Image.open("scans/a.jpg"))
    tinted = np.stack((grey, grey // 10 * 9, grey // 10 * 7), axis=2)
    Image.fromarray(tinted).save("scans/sepia.png")
    # Grey in three channels is grey.
    Image.open("scans/a.jpg").convert("RGB").save("scans/grey.png")
    tifffile.imwrite("scans/deep.tif", tinted.astype(np.uint16) * 257, photometric="rgb")
    for arguments, place in (([], "scans-colour"), (["--models", "unet_timm"], "scans-models")):
        said = zoo("colorize", "scans", *arguments)
        assert said.code == 0
        told, where = said.stderr.split(" (such as ")
        assert told == "note: 3 photographs"
        assert where.endswith(
            "were in colour or tinted, and coloured anew from the lightness alone\n"
        )
        assert len(files_below(scans / place)) == 6
    said = zoo("colorize", "scans/cup.png")
    assert said.stderr.startswith("note: scans/cup.png was in colour or tinted, and")


# ---- sheets ---------------------------------------------------------------------------------


def test_a_sheet_shows_every_model_that_trains(zoo, scans):
    trained = [
        name for name in package.list_colorizers() if not registry.colorizer_class(name).info.floor
    ]
    said = zoo("colorize", "old.jpg", "--models", "all", "--device", "cpu")
    assert (said.code, said.stderr) == (0, "")
    models = ", ".join(f"{name}@release" for name in trained)
    assert said.stdout.splitlines()[1] == f"by {models}: likely colours, not the true ones"
    with Image.open("old-models.png") as drawn:
        grey = np.asarray(Image.open("old.jpg").convert("RGB"))
        tiles = drawn.width * drawn.height / grey[..., 0].size
    assert tiles > len(trained) + 1


def test_a_sheet_of_all_models_that_have_weights(zoo, scans, unet_timm_alone):
    said = zoo("colorize", "old.jpg", "--models", "all", "--device", "cpu")
    assert said.code == 0
    first, used = said.stdout.splitlines()
    assert first.endswith(": old-models.png")
    assert used == "by unet_timm@release: likely colours, not the true ones"
    (note,) = said.stderr.splitlines()
    assert note.startswith("note: not shown, for want of weights: ")
    assert "zoo weights fetch" in note
    assert "zhang_rebalanced@eccv16" in note
    assert "fc_generator" in note
    assert "mean_color" not in note  # a floor
    with Image.open("old-models.png") as image:
        drawn = np.asarray(image)
    # Grey and the model's answer, as the input has them, side by side.
    grey = np.asarray(Image.open("old.jpg"))
    top, left = sheet._MARGIN + sheet._LINE, sheet._MARGIN
    first = drawn[top : top + 128, left : left + 128]
    np.testing.assert_array_equal(first, np.repeat(grey[:, :, None], 3, axis=2))
    label = drawn[: sheet._MARGIN + sheet._LINE, left + 128 :]
    assert label.min() < 100  # something is written
    zoo("colorize", "old.jpg", "-o", "old.png", "--device", "cpu")
    answer = np.asarray(Image.open("old.png"))
    wide = drawn.shape[1]
    places = [
        x for x in range(left + 128, wide - 128)
        if np.array_equal(drawn[top : top + 128, x : x + 128], answer)
    ]  # fmt: skip
    assert len(places) == 1

    again = zoo("colorize", "old.jpg", "--models", "all")
    assert again.code == 2
    assert again.stderr == "error: old-models.png exists already; type --overwrite, or another -o\n"


def test_sheets_of_a_folder_go_on_without_what_cannot_be_read(zoo, scans):
    (scans / "scans" / "bad.jpg").write_text("no image")
    said = zoo("colorize", "scans", "--models", "unet_timm,unet_timm:temperature=0.1@release")
    assert said.code == 1
    assert said.stderr == "error: scans/bad.jpg: not an image of a format that is read here\n"
    assert said.stdout.splitlines()[0].startswith("2 of 3 photographs coloured in ")
    assert said.stdout.splitlines()[0].endswith("1 failed: scans-models/")
    assert said.stdout.splitlines()[1] == (
        "by unet_timm@release, unet_timm:temperature=0.1@release: likely colours, not the true ones"
    )
    assert files_below(scans / "scans-models") == [
        *("scans-models/1927/b.png", "scans-models/a.png"),
    ]
    assert zoo("colorize", "old.jpg", "--models", "unet_timm", "-o", "sheet.jpg").code == 0
    with Image.open("sheet.jpg") as made:
        assert made.format == "JPEG"


def test_models_here_are_all_that_have_a_file(zoo, scans, monkeypatch):
    """What was downloaded is shown, too; what is published and not here is to be fetched."""
    (release,) = [w for w in published.published("unet_timm") if w.name == "release"]
    both = [release, dataclasses.replace(release, name="second")]
    monkeypatch.setattr(published, "read_manifests", lambda: (both, []))
    said = zoo("colorize", "old.jpg", "--models", "all")
    assert said.stdout.splitlines()[1].startswith("by unet_timm@release, unet_timm@second: ")


def test_a_large_photograph_is_a_tile_and_a_wide_label_has_room():
    pictures = {f"{'m' * 60}{i}": np.zeros((40, 30, 3), np.uint8) for i in range(5)}
    drawn = sheet.sheet(pictures)
    rows = 2  # five in rows of three
    assert drawn.shape[0] == 2 * sheet._MARGIN + rows * (sheet._LINE + 40) + sheet._GAP
    tiles = (drawn[sheet._MARGIN + sheet._LINE + 5] == 0).all(1).sum()
    assert tiles == 3 * 30


def test_a_tile_is_no_longer_than_its_limit(zoo):
    Image.fromarray(np.tile(data.camera(), (2, 3))).save("large.png")  # 1536×1024
    assert zoo("colorize", "large.png", "--models", "unet_timm").code == 0
    with Image.open("large-models.png") as made:
        assert made.width == 2 * (sheet.TILE + sheet._MARGIN) + sheet._GAP
        assert made.height == 2 * sheet._MARGIN + sheet._LINE + round(sheet.TILE * 2 / 3)


def test_a_model_that_fails_is_named(zoo, scans, monkeypatch):
    def fail(*_):
        raise RuntimeError("no luck")

    monkeypatch.setattr(sheet, "predict_chroma", fail)
    said = zoo("colorize", "old.jpg", "--models", "unet_timm")
    assert said.code == 1
    assert said.stderr == "error: old.jpg: unet_timm@release: RuntimeError: no luck\n"


def test_a_full_disk_ends_sheets_with_one_line(zoo, scans, monkeypatch):
    def full(*_):
        raise OSError(28, os.strerror(28), "scans-models/a.png")

    monkeypatch.setattr(sheet, "write_picture", full)
    said = zoo("colorize", "scans", "--models", "unet_timm")
    assert said.code == 1
    assert said.stderr.splitlines()[-1] == (
        "nothing more can be written to scans-models/1927; stopped: the files that were finished "
        "are whole"
    )
    assert files_below(scans / "scans-models") == []


# ---- one function ---------------------------------------------------------------------------


def test_colorize_gives_back_what_it_was_given(zoo, scans, monkeypatch):
    loads = []
    load = default.load
    monkeypatch.setattr(
        default, "load", lambda *given, **_: loads.append(given) or load(*given, device="cpu")
    )
    default._default_colorizer.cache_clear()
    try:
        grey = data.camera()[::4, ::4]
        Image.fromarray(grey).save("old.png")
        array = package.colorize(grey)
        assert (array.dtype, array.shape) == (np.uint8, (128, 128, 3))
        of_path, of_image = package.colorize("old.png"), package.colorize(Image.fromarray(grey))
        assert isinstance(of_path, Image.Image)
        np.testing.assert_array_equal(np.asarray(of_path), array)
        np.testing.assert_array_equal(np.asarray(of_image), array)
        assert len(package.colorize([grey, grey[:64]])) == 2
        zoo("colorize", "old.png", "--device", "cpu")
        np.testing.assert_array_equal(np.asarray(Image.open("old-colour.png")), array)
        assert np.abs(array.astype(int) - package.colorize(grey, 128)).max() > 5
        assert loads == [("unet_timm@release",)]
        with pytest.raises(InputError, match=r"^no\.jpg: "):
            package.colorize("no.jpg")
    finally:
        default._default_colorizer.cache_clear()


def test_the_function_is_no_module_and_importing_it_is_cheap():
    script = "import sys, zoo; assert callable(zoo.colorize); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)
