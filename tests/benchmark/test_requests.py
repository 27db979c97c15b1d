"""Reading `--models` and `--set`: every form a user may type."""

import pytest

from zoo import registry
from zoo.errors import OptionError, UnknownNameError
from zoo_benchmark.requests import parse_models

KNOWN = ["acme.deep", "grey", "mean_color", "zhang"]


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "list_colorizers", lambda: KNOWN)


def read(text: str, *settings: str) -> list[tuple[str, dict[str, str], str]]:
    return [(r.name, dict(r.changes), r.label) for r in parse_models(text, settings)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("grey", [("grey", {}, "grey")]),
        ("grey,zhang", [("grey", {}, "grey"), ("zhang", {}, "zhang")]),
        (" grey , zhang ", [("grey", {}, "grey"), ("zhang", {}, "zhang")]),
        ("all", [(name, {}, name) for name in KNOWN]),
        ("zhang:width=0.5", [("zhang", {"width": "0.5"}, "zhang")]),
        (
            "zhang:width=0.5,temperature=0.2,grey",
            [("zhang", {"width": "0.5", "temperature": "0.2"}, "zhang"), ("grey", {}, "grey")],
        ),
        (
            "zhang,zhang:width=1",
            [("zhang", {}, "zhang"), ("zhang", {"width": "1"}, "zhang:width=1")],
        ),
        (
            "zhang:width=1,zhang:width=2,k=3",
            [
                ("zhang", {"width": "1"}, "zhang:width=1"),
                ("zhang", {"width": "2", "k": "3"}, "zhang:width=2,k=3"),
            ],
        ),
        ("grey,zhang,width=2", [("grey", {}, "grey"), ("zhang", {"width": "2"}, "zhang")]),
        ("zhang:path=c:d", [("zhang", {"path": "c:d"}, "zhang")]),
        ("zhang:a=1,path=c:d", [("zhang", {"a": "1", "path": "c:d"}, "zhang")]),
        ("zhang:expression=a=b", [("zhang", {"expression": "a=b"}, "zhang")]),
        ("acme.deep:k=1", [("acme.deep", {"k": "1"}, "acme.deep")]),
    ],
)
def test_models(text: str, expected: list[tuple[str, dict[str, str], str]]) -> None:
    assert read(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("zhang@v1,grey", [("zhang", {}, "zhang@v1", "v1"), ("grey", {}, "grey", "")]),
        ("zhang@a/b.pth", [("zhang", {}, "zhang@b.pth", "a/b.pth")]),
        ("zhang@a/b,zhang@c/b", [("zhang", {}, f"zhang@{w}", w) for w in ("a/b", "c/b")]),
        ("zhang@hf:me/net", [("zhang", {}, "zhang@hf:me/net", "hf:me/net")]),
        ("zhang@a=b:c@d.pth", [("zhang", {}, "zhang@a=b:c@d.pth", "a=b:c@d.pth")]),
        ("zhang:k=1@v1", [("zhang", {"k": "1"}, "zhang@v1", "v1")]),
        ("zhang:k=1,j=2@v1", [("zhang", {"k": "1", "j": "2"}, "zhang@v1", "v1")]),
        (
            "zhang@v1,zhang:k=1@v1,zhang",
            [
                ("zhang", {}, "zhang@v1", "v1"),
                ("zhang", {"k": "1"}, "zhang:k=1@v1", "v1"),
                ("zhang", {}, "zhang", ""),
            ],
        ),
    ],
)
def test_weights_reach_from_the_at_to_the_next_comma(
    text: str, expected: list[tuple[str, dict[str, str], str, str]]
) -> None:
    requests = parse_models(text)
    assert [(r.name, dict(r.changes), r.label, r.weights) for r in requests] == expected


def test_all_and_a_variant_of_one() -> None:
    requests = read("all,zhang:width=1")
    assert [label for _, _, label in requests] == [*KNOWN, "zhang:width=1"]


def test_set_changes_every_row_of_that_name_unless_the_row_says_otherwise() -> None:
    assert read("zhang:width=1,zhang:k=2,grey", "zhang.width=3") == [
        ("zhang", {"width": "1"}, "zhang:width=1"),
        ("zhang", {"width": "3", "k": "2"}, "zhang:width=3,k=2"),
        ("grey", {}, "grey"),
    ]


def test_set_knows_names_with_dots_and_values_with_dots() -> None:
    assert read("acme.deep,zhang", "acme.deep.rate=0.5", "zhang.rate=1e-3") == [
        ("acme.deep", {"rate": "0.5"}, "acme.deep"),
        ("zhang", {"rate": "1e-3"}, "zhang"),
    ]


@pytest.mark.parametrize(
    ("text", "settings", "says"),
    [
        ("", [], "empty part"),
        ("grey,,zhang", [], "empty part"),
        ("grey,", [], "empty part"),
        ("width=1", [], "starts with an option"),
        ("width=1,zhang", [], "starts with an option"),
        ("zhang:", [], "NAME:option=value"),
        ("zhang:width", [], "NAME:option=value"),
        ("zhang:width=", [], "NAME:option=value"),
        ("zhang:=1", [], "NAME:option=value"),
        ("zhang:width=1,width=2", [], "set twice"),
        ("all:width=1", [], "all"),
        ("all,width=1", [], "all"),
        ("grey,grey", [], "asked for twice"),
        ("all,grey", [], "asked for twice"),
        ("zhang:width=1,zhang:width=1", [], "asked for twice"),
        ("zhang,zhang:width=1", ["zhang.k=2", "zhang.k=3"], "NAME.option=value|set twice"),
        ("zhang", ["zhang"], r"--set NAME\.option=value"),
        ("zhang", ["width=1"], r"--set NAME\.option=value"),
        ("zhang", ["zhang.width"], r"--set NAME\.option=value"),
        ("zhang", ["zhang.width="], r"NAME\.option=value"),
        ("zhang", ["zhang.=1"], r"NAME\.option=value"),
    ],
)
def test_what_cannot_be_read(text: str, settings: list[str], says: str) -> None:
    with pytest.raises(OptionError, match=says):
        parse_models(text, settings)


@pytest.mark.parametrize(
    ("text", "settings", "says"),
    [
        ("gray", [], "did you mean 'grey'"),
        ("zang:width=1", [], "did you mean 'zhang'"),
        ("grey", ["zhang.width=1"], "model in --set 'zhang'"),
        ("zhang", ["zang.width=1"], "did you mean 'zhang'"),
    ],
)
def test_unknown_names_are_answered_with_near_ones(
    text: str, settings: list[str], says: str
) -> None:
    with pytest.raises(UnknownNameError, match=says):
        parse_models(text, settings)


def test_nothing_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "list_colorizers", list)
    with pytest.raises(OptionError, match="no colorizer is installed"):
        parse_models("all")
