"""Exported files: the pictures of `predict` by another program, and all that is refused."""

import dataclasses
import json
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image
from skimage import data
from skimage.color import rgb2lab
from torch import nn

import zoo
from zoo._version import __version__
from zoo.color.lab import grey_to_L
from zoo.colorizer import Colorizer, Info, TrainingOptions
from zoo.errors import ExportError, NotFittedError, WeightsError
from zoo.export import Exported, export_onnx
from zoo.export.file import metadata_of, open_session, run
from zoo.export.parity import Difference, check
from zoo.registry import colorizer_class
from zoo.testing import images

SIZES = ((33, 47), (150, 100))


class Painter(Colorizer):
    """Chroma from a neighbourhood, at half the sides; strong colours without much training."""

    info = Info(name="painter", title="Painter", paper="none", license="MIT")
    Options = TrainingOptions
    multiple = 8

    def build(self):
        layers = [nn.Conv2d(1, 8, 5, padding=2, stride=2), nn.ReLU(), nn.Conv2d(8, 2, 1)]
        return nn.Sequential(*layers, nn.Upsample(scale_factor=2, mode="bilinear"))

    def forward(self, L):
        return 110 * torch.tanh(self.net(L / 50 - 1))

    def loss(self, L, ab):
        return (self.forward(L) - ab).square().mean()


class Squasher(Painter):
    """Sees photographs as squares."""

    info = dataclasses.replace(Painter.info, name="squasher", squashed=True, working_size=64)


@pytest.fixture(scope="session")
def painter(_tiles) -> Painter:
    """It paints; on the CPU."""
    return Painter(device="cpu", precision="fp32").fit(_tiles[:8], budget="2steps", size=64)


@pytest.fixture(scope="session")
def exported(painter, tmp_path_factory) -> Exported:
    """The painter's file, with half the weights' size."""
    path = tmp_path_factory.mktemp("exported") / "painter.onnx"
    return export_onnx(painter, path, weights="fp16", weights_sha256="0" * 64, sizes=SIZES)


def _picture(height, width):
    return np.asarray(Image.fromarray(data.coffee()).resize((width, height)))


def _run(path, picture):
    """By ONNX Runtime as anybody calls it."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (colour,) = session.run(None, {"image": picture})
    return colour


def test_the_file_colours_pictures_of_other_sizes_than_it_was_compared_on(painter, exported):
    twin = _in_half(painter)
    for height, width in ((1, 1), (2, 90), (64, 64), (201, 77)):
        picture = _picture(height, width)
        colour = _run(exported.path, picture)
        expected = np.asarray(twin.predict(Image.fromarray(picture)))
        assert colour.shape == (height, width, 3)
        assert colour.dtype == np.uint8
        off = np.abs(colour.astype(int) - expected).max(2)
        assert off.max() <= 3
        assert (off > 1).mean() <= 0.001
    assert np.ptp(colour.astype(int), axis=2).mean() > 5, "it paints"


def _in_half(painter):
    twin = Painter(device="cpu", precision="fp32").fit(
        images.photographs(64), budget="1steps", size=64
    )
    state = {n: t.half().float() if t.ndim > 1 else t for n, t in painter.net.state_dict().items()}
    twin.net.load_state_dict(state)
    twin.record = painter.record
    return twin


def test_a_colour_picture_is_taken_as_its_lightness(exported):
    picture = _picture(40, 60)
    grey = np.asarray(Image.fromarray(picture).convert("L"))
    same = _run(exported.path, np.repeat(grey[:, :, None], 3, axis=2))
    again = _run(exported.path, np.ascontiguousarray(picture))
    assert same.shape == again.shape
    # The lightness of what it painted is that of the picture, where 8 bits can show the colour.
    off = np.abs(rgb2lab(again)[..., 0] - rgb2lab(picture)[..., 0])
    assert np.median(off) < 0.5


def test_the_metadata_say_all_that_a_user_must_know(exported):
    told = json.loads(
        {p.key: p.value for p in onnx.load(str(exported.path)).metadata_props}["colorizer-zoo"]
    )
    assert told == json.loads(json.dumps(exported.metadata))
    assert told["model"] == "painter"
    assert told["options"] == dataclasses.asdict(Painter.Options())
    assert told["license"] == told["code_license"] == "MIT"
    assert told["trained_on"] == "8 images; budget 2steps"
    assert told["weights"] == "fp16"
    assert told["weights_sha256"] == "0" * 64
    assert told["zoo_version"] == __version__
    assert told["parameters"] == 8 * 25 + 8 + 8 * 2 + 2
    assert (told["working_size"], told["size"]) == (64, None)


def test_kernels_are_stored_in_half_precision_and_vectors_are_not(exported):
    stored = [(tuple(t.dims), t.data_type) for t in onnx.load(str(exported.path)).graph.initializer]
    assert ((8, 1, 5, 5), onnx.TensorProto.FLOAT16) in stored
    assert ((8,), onnx.TensorProto.FLOAT) in stored


@pytest.mark.long
def test_weights_that_half_precision_cannot_hold_stay_as_they_are(painter, tmp_path):
    large = _in_half(painter)
    with torch.no_grad():
        large.net[0].weight[0, 0, 0, 0] = 1e5
        large.net[2].weight[:, 0] = 0  # else it is all that is seen
    path = tmp_path / "large.onnx"
    export_onnx(large, path, weights="fp16", sizes=SIZES[:1])
    kernels = [t for t in onnx.load(str(path)).graph.initializer if list(t.dims) == [8, 1, 5, 5]]
    assert [t.data_type for t in kernels] == [onnx.TensorProto.FLOAT]
    assert onnx.numpy_helper.to_array(kernels[0]).max() == 1e5


@pytest.mark.long
def test_photographs_are_squashed_where_the_method_says_so(painter, tmp_path):
    squasher = Squasher(device="cpu", precision="fp32")
    squasher.fit(images.photographs(64), budget="1steps", size=64)
    squasher.net.load_state_dict(painter.net.state_dict())
    path = tmp_path / "squashed.onnx"
    export_onnx(squasher, path, sizes=((150, 100),))
    picture = _picture(90, 200)
    colour = _run(path, picture).astype(int)
    assert np.abs(colour - np.asarray(squasher.predict(Image.fromarray(picture)))).max() <= 1
    assert np.abs(colour - np.asarray(painter.predict(Image.fromarray(picture)))).max() > 1


@pytest.mark.long
def test_a_fixed_size_is_the_only_one_that_is_taken(painter, tmp_path):
    path = tmp_path / "fixed.onnx"
    found = export_onnx(painter, path, size=(48, 70), opset=20)
    assert {each.size for each in found.differences} == {(48, 70)}
    assert onnx.load(str(path)).opset_import[0].version == 20
    assert _run(path, _picture(48, 70)).shape == (48, 70, 3)
    with pytest.raises(Exception, match="Got: 47 Expected: 48"):
        _run(path, _picture(47, 70))


@pytest.mark.long
def test_the_working_size_may_be_the_pictures_own(painter, tmp_path):
    path = tmp_path / "full.onnx"
    export_onnx(painter, path, working_size="full", sizes=((33, 47),))
    picture = _picture(130, 150)
    full = np.asarray(painter.predict(Image.fromarray(picture), working_size="full"))
    assert np.abs(_run(path, picture).astype(int) - full).max() <= 1


# ---- what is refused ---------------------------------------------------------------------------


@pytest.mark.long
def test_other_colours_than_those_of_predict_are_refused_and_nothing_is_written(painter, tmp_path):
    class Counting(Painter):
        def forward(self, L):
            return super().forward(L) * (int(L.shape[3]) / 50)

    counting = Counting(device="cpu", precision="fp32")
    counting.fit(images.photographs(64), budget="1steps", size=64)
    counting.net.load_state_dict(painter.net.state_dict())
    (tmp_path / "model.onnx").write_text("the one before")
    with pytest.raises(ExportError, match=r"the exported painter gives other colours than predict"):
        export_onnx(counting, tmp_path / "model.onnx", sizes=SIZES)
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
    assert (tmp_path / "model.onnx").read_text() == "the one before"


def test_what_pytorch_cannot_translate_is_named_in_one_line(painter, tmp_path, capfd):
    class Sorting(Painter):
        def forward(self, L):
            return super().forward(L) + torch.linalg.svdvals(L)[..., :1, None].sum() * 0

    sorting = Sorting(device="cpu", precision="fp32")
    sorting.fit(images.photographs(64), budget="1steps", size=64)
    with pytest.raises(ExportError) as caught:
        export_onnx(sorting, tmp_path / "model.onnx")
    assert str(caught.value).startswith("painter cannot be exported: PyTorch cannot translate its ")
    assert "svd" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
    assert "graph(" not in "".join(capfd.readouterr())


def test_what_cannot_be_is_refused_before_work(painter, tmp_path, monkeypatch):
    path = tmp_path / "model.onnx"
    with pytest.raises(ExportError, match=r"exported files end in \.onnx; type .*model\.pt\.onnx"):
        export_onnx(painter, tmp_path / "model.pt")
    for opset in (17, 21, -1):
        with pytest.raises(ExportError, match=f"the opset must lie in 18 … 20, got {opset}"):
            export_onnx(painter, path, opset=opset)
    with pytest.raises(ExportError, match="must lie in 1 … 4096, got 5000×3"):
        export_onnx(painter, path, size=(3, 5000))
    with pytest.raises(NotFittedError):
        export_onnx(Painter(device="cpu"), path)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(
        ExportError, match=r'need onnxruntime .* pip install "colorizer-zoo\[onnx\]'
    ):
        export_onnx(painter, path)


def test_the_limits_are_those_of_the_promise():
    size = (100, 100)
    check("x", [Difference(size, 3, 0.001), Difference(size, 1, 0.0)])
    for levels, share in ((4, 0.0), (2, 0.0011)):
        with pytest.raises(ExportError, match=f"at 100×100 px .* at most by {levels}"):
            check("x", [Difference(size, 1, 0.0), Difference(size, levels, share)])


# ---- files of others ---------------------------------------------------------------------------


def _foreign(path, **metadata):
    from onnx import TensorProto, helper

    values = [
        helper.make_tensor_value_info(name, TensorProto.UINT8, ["h", "w", 3])
        for name in ("image", "colour")
    ]
    graph = helper.make_graph(
        [helper.make_node("Identity", ["image"], ["colour"])], "g", values[:1], values[1:]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    for value in metadata.values():
        helper.set_model_props(model, {"colorizer-zoo": value})
    onnx.save(model, str(path))
    return path


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({}, "it was not written by zoo export"),
        ({"all": "[" * 10_000}, "it was not written by zoo export"),
        ({"all": '{"format": 9}'}, "it has format 9, this zoo reads 1"),
        ({"all": '{"format": 1, "model": 3}'}, "it is damaged: its model is 3"),
    ],
)
def test_a_file_of_another_program_is_refused_in_one_line(tmp_path, metadata, words):
    path = _foreign(tmp_path / "other.onnx", **metadata)
    with pytest.raises(WeightsError, match=words) as caught:
        zoo.load("onnx", path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_no_onnx_file_is_refused(tmp_path, painter):
    path = tmp_path / "picture.onnx"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    with pytest.raises(WeightsError, match=r"picture\.onnx: the file cannot be read as ONNX"):
        zoo.load("onnx", path)
    with pytest.raises(WeightsError, match="there is no file"):
        zoo.load("onnx", tmp_path / "nothing.onnx")
    with pytest.raises(WeightsError, match=r"holds no weights; .* onnx@.*picture\.onnx"):
        zoo.load("unet_timm", path)


# ---- onnx@FILE ---------------------------------------------------------------------------------


def test_an_exported_file_is_a_colorizer(exported):
    colorizer = zoo.load(f"onnx@{exported.path}", device="cpu")
    assert colorizer.parameter_count == exported.metadata["parameters"]
    assert colorizer.origin.license == "MIT"
    # As it is scored: its pictures, bit by bit.
    grey = _picture(70, 90)[..., 1].copy()
    painted = colorizer.predict_rgb(grey_to_L(torch.from_numpy(grey)[None, None]))
    picture = _run(exported.path, np.repeat(grey[:, :, None], 3, axis=2))
    assert np.array_equal((painted[0] * 255).round().permute(1, 2, 0).byte().numpy(), picture)
    # As `zoo colorize` paints it: the same but where 8 bits cut a colour off.
    off = np.abs(colorizer.predict(grey).astype(int) - picture).max(2)
    whole = ((picture > 0) & (picture < 255)).all(2)
    assert whole.mean() > 0.5
    assert off[whole].max() <= 2


def test_it_is_neither_trained_nor_saved_nor_exported_nor_part_of_all(exported, tmp_path):
    assert "onnx" not in zoo.list_colorizers()
    colorizer = zoo.load("onnx", exported.path, device="cpu")
    with pytest.raises(WeightsError, match="nothing without a file: type onnx@FILE"):
        zoo.load("onnx")
    with pytest.raises(ExportError, match="an exported file is not trained"):
        colorizer.fit(images.photographs(64), budget="1steps")
    with pytest.raises(ExportError, match="copy the file"):
        colorizer.save(tmp_path / "x.safetensors")
    with pytest.raises(ExportError, match="an exported file already"):
        export_onnx(colorizer, tmp_path / "x.onnx")


# ---- all of them -------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.parametrize("weights", ["fp32", "fp16"])
@pytest.mark.parametrize("name", zoo.list_colorizers())
def test_every_built_in_gives_the_pictures_of_predict(name, weights, tmp_path, record_property):
    cls = colorizer_class(name)
    colorizer = cls(cls.preset("small"), device="cpu", precision="fp32")
    side = colorizer.padded_side(64)
    colorizer.fit(images.photographs(side), budget="10steps", size=side)
    found = export_onnx(colorizer, tmp_path / "model.onnx", weights=weights)
    assert len({each.size for each in found.differences}) == 7
    session = open_session(found.path)
    assert metadata_of(session)["model"] == name
    record_property("differences", str(found.differences))
    if not cls.info.floor:
        picture = run(session, _picture(120, 160)).astype(int)
        assert np.ptp(picture, axis=2).mean() > 1, "it paints, else the comparison says little"


@pytest.mark.long
@pytest.mark.parametrize("opset", [18, 19, 20])
def test_the_release_gives_the_pictures_of_predict(opset, tmp_path):
    colorizer = zoo.load("unet_timm@release", device="cpu", precision="fp32")
    found = export_onnx(colorizer, tmp_path / "model.onnx", opset=opset)
    assert all(each.allowed for each in found.differences)
