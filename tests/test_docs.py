"""Every document keeps its word: what it tells a reader to type works as it stands."""

from __future__ import annotations

import re
import tomllib
from dataclasses import fields
from pathlib import Path
from urllib.parse import urlsplit

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
    typed,
    write_plugin,
)

from zoo.testing import CHECKS
from zoo.weights.manifest import PublishedWeights

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
import zoo.weights.published, zoo.weights.file
shutil.copy("weights.safetensors", "mine.safetensors")
fetch = lambda found, **_: Path("weights.safetensors")
zoo.weights.published.fetch = zoo.weights.file.fetch = fetch
""",
}
"""Code that runs before the blocks of a document: the names and files that they presume."""

LEFT_BEHIND = {
    "README.md": ["mine.safetensors"],
    "docs/training.md": ["mine.safetensors", "prior.csv"],
    "docs/colorize.md": ["colour/0.png", "colour/1.png"],
}
"""Files that the blocks of a document must have written."""

SHORTER = {'budget="30min"': 'budget="2steps"'}
"""What is long in a block, and what a test takes in its place."""

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
def test_toml_blocks_are_read(name):
    """What pyproject files register is used by the tests of the plugins."""
    for block in blocks(DOCUMENTS[name], "toml"):
        content = tomllib.loads(block)
        assert set(content) <= {"build-system", "project", "tool", "weights"}
        for entry in content.get("weights", []):
            kinds = {
                field.name: entry.pop(field.name)
                for field in fields(PublishedWeights)
                if field.name in entry
            }
            assert entry == {}
            assert kinds["sha256"] == "…"
            PublishedWeights(**kinds | {"sha256": 64 * "0"})


@pytest.mark.parametrize("name", DOCUMENTS)
def test_no_block_escapes_these_tests(name):
    """Every fence is of a kind that some test runs; `text` is what a program printed."""
    fences = re.findall(r"^ *(?:```|~~~)(.*)$", DOCUMENTS[name], re.MULTILINE)
    languages = fences[::2]
    assert set(languages) <= {"python", "toml", "sh", "text"}
    assert set(fences[1::2]) <= {""}
    assert len(languages) == sum(len(blocks(DOCUMENTS[name], each)) for each in set(languages))


def test_the_list_of_checks_is_that_of_the_kit():
    shown = blocks(DOCUMENTS["docs/tutorial/first-plugin.md"], "text")
    (printed,) = [block for block in shown if "outcome" in block]
    assert re.findall(r"^(\w+) +│", printed, re.MULTILINE) == list(CHECKS)


# ---- commands -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DOCUMENTS)
def test_commands_and_their_options_exist(name):
    texts = help_texts()
    used = typed(DOCUMENTS[name])
    commands = [words for words in used if Path(words[0]).name == "zoo" and len(words) > 1]
    assert commands or name in ("docs/glossary.md", "docs/papers.md")
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


# ---- links ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_lead_somewhere(name):
    folder = (ROOT / name).parent
    for target in re.findall(r"\[[^\]]*\]\(([^)\s]+)(?: \"[^\"]*\")?\)", DOCUMENTS[name]):
        parts = urlsplit(target)
        if parts.scheme:
            continue
        path = (folder / parts.path).resolve() if parts.path else ROOT / name
        assert path.exists(), target
        assert path.is_relative_to(ROOT), target
        if parts.fragment:
            document = DOCUMENTS[path.relative_to(ROOT).as_posix()]
            assert parts.fragment in anchors(document), target
