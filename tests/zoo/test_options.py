import dataclasses
from dataclasses import dataclass
from typing import Literal

import pytest

import zoo
from zoo.errors import OptionError, UnknownNameError
from zoo.options import NoOptions, describe_options, option_names, read_settings, replace_options
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
        ("layers", 2.5),
        ("layers", "2.5"),
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
    assert [name for name, _, _ in described] == [f.name for f in dataclasses.fields(Options)]
    assert described[0] == ("width", "float", 1.0)
    assert described[4] == ("trunk", "Literal['vgg16', 'vgg11']", "vgg16")


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
