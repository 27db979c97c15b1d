import dataclasses
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pytest

import zoo
from zoo.errors import OptionError, UnknownNameError
from zoo.options import (
    NoOptions,
    describe_options,
    option,
    option_names,
    read_settings,
    replace_options,
)
from zoo.options import Options as Base
from zoo.registry import colorizer_class


@dataclass(frozen=True)
class Options:
    width: float = 1.0
    layers: int = 3
    bleed: bool = False
    label: str = "x"
    trunk: Literal["vgg16", "vgg11"] = "vgg16"
    power: Literal[1, 2] = 1
    crop: int | None = None

    def __post_init__(self):
        if self.width <= 0:
            raise ValueError(f"width must be positive, got {self.width}")


@pytest.mark.parametrize(
    ("name", "given", "value"),
    [
        ("width", 0.5, 0.5),
        ("width", 2, 2.0),
        ("width", "0.25", 0.25),
        ("width", "1e-3", 0.001),
        ("width", np.float32(0.5), 0.5),
        ("width", np.int64(2), 2.0),
        ("layers", np.int64(5), 5),
        ("crop", np.uint8(32), 32),
        ("layers", 5, 5),
        ("layers", "5", 5),
        ("bleed", True, True),
        ("bleed", "true", True),
        ("bleed", "False", False),
        ("label", "y", "y"),
        ("label", "3", "3"),
        ("trunk", "vgg11", "vgg11"),
        ("power", 2, 2),
        ("power", "2", 2),
        ("crop", 32, 32),
        ("crop", "32", 32),
        ("crop", "none", None),
        ("crop", None, None),
    ],
)
def test_values_are_taken_or_read_from_text(name, given, value):
    before = Options(crop=7)
    after = replace_options(before, {name: given}, "model")
    found = getattr(after, name)
    assert found == value
    assert type(found) is type(value)
    assert after == dataclasses.replace(before, **{name: value})
    assert before == Options(crop=7)


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("width", "wide"),
        ("width", None),
        ("width", True),
        pytest.param("width", 10**400, id="too large"),
        ("layers", 2.5),
        ("layers", "2.5"),
        ("layers", np.float32(2)),
        ("layers", True),
        ("bleed", 1),
        ("bleed", "yes"),
        ("label", 3),
        ("trunk", "vgg19"),
        ("power", 3),
        ("crop", "big"),
        ("crop", 1.5),
    ],
)
def test_other_values_are_refused_naming_option_and_value(name, given):
    with pytest.raises(OptionError) as caught:
        replace_options(Options(), {name: given}, "model")
    assert f"model.{name}" in str(caught.value)
    assert repr(given) in str(caught.value)


def test_the_dataclass_own_check_is_an_option_error():
    with pytest.raises(OptionError, match=r"model: width must be positive, got -1"):
        replace_options(Options(), {"width": -1}, "model")


def test_literals_show_their_choices():
    with pytest.raises(OptionError, match="vgg16, vgg11"):
        replace_options(Options(), {"trunk": "resnet"}, "model")


def test_a_typo_raises_and_suggests():
    with pytest.raises(UnknownNameError, match=r"'widht'.*did you mean 'width'") as caught:
        replace_options(Options(), {"widht": 1}, "model")
    assert "model" in str(caught.value)


def test_nothing_is_known_where_there_are_no_options():
    with pytest.raises(UnknownNameError, match="there are none"):
        replace_options(NoOptions(), {"width": 1}, "model")


def test_a_field_of_an_unsupported_type_says_what_is_supported():
    @dataclass(frozen=True)
    class Odd:
        things: tuple[int, ...] = ()

    with pytest.raises(OptionError, match="options are int, float, bool, str"):
        replace_options(Odd(), {"things": (1,)}, "model")


def test_descriptions_are_in_the_order_of_definition():
    described = describe_options(Options)
    assert [row.name for row in described] == [f.name for f in dataclasses.fields(Options)]
    assert described[0][:3] == ("width", "float", 1.0)
    assert described[4][:3] == ("trunk", "Literal['vgg16', 'vgg11']", "vgg16")


@pytest.mark.parametrize("name", zoo.list_colorizers())
def test_options_of_every_colorizer_survive_text_and_are_frozen(name):
    cls = colorizer_class(name)
    for preset in ("paper", "small"):
        options = cls.preset(preset)
        assert isinstance(options, cls.Options)
        as_text = {key: str(value) for key, value in dataclasses.asdict(options).items()}
        assert replace_options(cls.Options(), as_text, name) == options
        for field in dataclasses.fields(options):
            with pytest.raises(dataclasses.FrozenInstanceError):
                setattr(options, field.name, None)
    assert cls.preset("paper") == cls.Options()
    assert [row[0] for row in describe_options(cls.Options)] == [
        f.name for f in dataclasses.fields(cls.Options)
    ]


@pytest.mark.parametrize("name", zoo.list_colorizers())
def test_options_that_no_training_could_use_are_refused_at_once(name):
    cls = colorizer_class(name)
    for field in dataclasses.fields(cls.Options):
        value = getattr(cls.Options(), field.name)
        if isinstance(value, int | float) and not isinstance(value, bool):
            with pytest.raises(OptionError):
                cls(device="cpu", **{field.name: -1})
        if isinstance(value, float):
            with pytest.raises(OptionError):
                cls(device="cpu", **{field.name: "nan"})


def test_settings_are_read_as_text_and_once_each():
    assert read_settings([]) == {}
    assert read_settings(["width = 0.5", "label=a=b", "prior="]) == {
        "width": "0.5",
        "label": "a=b",
        "prior": "",
    }
    for wrong in ("width", "=1", ""):
        with pytest.raises(OptionError, match="type --set option=value"):
            read_settings([wrong])
    with pytest.raises(OptionError, match="'width' twice"):
        read_settings(["width=1", "width=2"])


def test_names_are_in_the_order_of_definition():
    assert option_names(Options)[:3] == ["width", "layers", "bleed"]
    assert option_names(NoOptions) == []


@dataclass(frozen=True)
class Ranged(Base):
    width: float = option(1.0, "factor on every channel count", above=0, most=8)
    layers: int = option(3, "hidden layers", least=1, most=9)
    margin: float = option(2.0, "in pixels", above=1)
    share: float = option(0.5, "of the budget", least=0, below=1)
    cold: float = option(-1.0, "in degrees", below=0)
    few: int | None = option(None, "of many", most=3)
    free: float = 1.0

    def check(self):
        if self.layers > 5 and self.width > 4:
            raise ValueError(f"{self.layers} layers of width {self.width:g} are too much")


@dataclass(frozen=True)
class Narrow(Ranged):
    width: float = 0.5


@pytest.mark.parametrize("kind", [Ranged, Narrow])
@pytest.mark.parametrize(
    ("name", "allowed", "refused", "words"),
    [
        ("width", [1e-9, 8], [0, -1, 8.001, "inf", "nan"], "(0, 8]"),
        ("layers", [1, 9], [0, 10], "1 … 9"),
        ("margin", [1.001], [1, "inf", "nan"], "above 1"),
        ("share", [0, 0.999], [-0.001, 1, "nan"], "[0, 1)"),
        ("cold", [-0.001], [0, "nan", "-inf"], "below 0"),
        ("few", [3, None], [4], "at most 3"),
        ("free", [-1, "inf"], [], ""),
    ],
)
def test_a_field_says_its_range_once_and_subclasses_keep_it(kind, name, allowed, refused, words):
    [row] = [row for row in describe_options(kind) if row.name == name]
    assert row.range == words
    for value in allowed:
        replace_options(kind(), {name: value}, "model")
    for value in refused:
        with pytest.raises(OptionError, match=f"model: {name} must .*, got ") as caught:
            replace_options(kind(), {name: value}, "model")
        assert words in str(caught.value) or "must be finite" in str(caught.value)


def test_ranges_hold_for_options_made_by_hand():
    with pytest.raises(ValueError, match=r"^width must lie in \(0, 8\], got 9$"):
        Narrow(width=9)
    assert Narrow().width == 0.5


def test_options_that_do_not_go_together_are_refused():
    with pytest.raises(OptionError, match="model: 6 layers of width 5 are too much"):
        replace_options(Narrow(), {"width": 5, "layers": 6}, "model")


def test_meanings_are_those_of_the_field():
    assert describe_options(Narrow)[0] == (
        "width",
        "float",
        0.5,
        "(0, 8]",
        "factor on every channel count",
    )
    assert describe_options(Options)[0][3:] == ("", "")


@pytest.mark.parametrize("name", zoo.list_colorizers())
def test_every_option_of_a_built_in_colorizer_has_a_meaning(name):
    for row in describe_options(colorizer_class(name).Options):
        assert row.meaning, row
