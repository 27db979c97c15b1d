"""What MkDocs does beyond its configuration: pages out of the code, links into the repository.

Named in `mkdocs.yml` under `hooks`. Everything here is made at build time and nothing of it is
written into `docs`:

- `README.md`, `CONTRIBUTING.md` and `CHANGELOG.md` are pages as they stand at the root;
- `commands.md` is the help of every command, from the command line itself;
- `api/MODULE.md` is a page for every such entry of `nav`; mkdocstrings fills it;
- `source/PATH.md` shows a file of the repository that some document links to.

A link in a document leads, on a code host, to a file of the repository. Here it is turned to the
page of that file.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from xml.etree.ElementTree import Element

from markdown import Markdown
from markdown.extensions import Extension
from markdown.treeprocessors import Treeprocessor
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
# MkDocs would take a README for the index of its folder.
ROOT_PAGES = {
    "README.md": "overview.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
_LANGUAGES = {".py": "python", ".toml": "toml", ".json": "json"}


def on_config(config: MkDocsConfig) -> None:
    """Adds the extension that turns links."""
    config.markdown_extensions.append(_LINKS)


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Adds the pages that are not files of `docs`."""
    for name, uri in ROOT_PAGES.items():
        text = (ROOT / name).read_text(encoding="utf-8")
        files.append(File.generated(config, uri, content=text))
    files.append(File.generated(config, "commands.md", content=command_page()))
    for uri in _uris(config.nav):
        if uri.startswith("api/"):
            module = Path(uri).stem
            files.append(File.generated(config, uri, content=f"# {module}\n\n::: {module}\n"))
    documents = [*DOCS.rglob("*.md"), *(ROOT / name for name in ROOT_PAGES)]
    for path in sorted({path for document in documents for path in _linked_files(document)}):
        files.append(File.generated(config, _uri(path), content=source_page(path)))


def on_page_markdown(markdown: str, page: Page, **_: Any) -> None:
    """Tells the extension whose links it is about to see."""
    _LINKS.page = page.file.src_uri


def command_page() -> str:
    """The help of `zoo` and of all its commands, as Markdown."""
    from typer.main import get_command

    from zoo.cli.main import app

    top = get_command(app)
    text = ["# Commands", "What `zoo COMMAND --help` shows, made from the same source."]
    for command, context in _commands(top, top.make_context("zoo", [], resilient_parsing=True)):
        text.append(f"## `{context.command_path}`")
        text.append(command.help or "")
        usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
        text.append(f"```text\n{usage}\n```")
        records = [p.get_help_record(context) for p in command.get_params(context)]
        rows = [f"| `{name}` | {_cell(meaning)} |" for name, meaning in filter(None, records)]
        text.append("\n".join(["| what | meaning |", "| --- | --- |", *rows]))
    return "\n\n".join(text) + "\n"


def _commands(command: Any, context: Any) -> Iterator[tuple[Any, Any]]:
    """A command with its context, then all below it; typer may bring a click of its own."""
    yield command, context
    for name in command.list_commands(context) if hasattr(command, "list_commands") else ():
        below = command.get_command(context, name)
        inner = below.make_context(name, [], parent=context, resilient_parsing=True)
        yield from _commands(below, inner)


def _cell(text: str) -> str:
    """Help as the cell of a table, letter by letter."""
    return re.sub(r"([\\`*_\[\]<>|])", r"\\\1", text)


def source_page(path: Path) -> str:
    """A file of the repository as a page, left out of the search."""
    name, language = path.relative_to(ROOT).as_posix(), _LANGUAGES.get(path.suffix, "text")
    fence = "`" * 6
    text = path.read_text(encoding="utf-8").rstrip()
    head = f"---\nsearch:\n  exclude: true\nhide: [toc]\n---\n\n# {path.name}\n\n`{name}`\n\n"
    return f"{head}{fence}{language}\n{text}\n{fence}\n"


def _uris(nav: Any) -> Iterator[str]:
    """Every page that `nav` names."""
    if isinstance(nav, str):
        yield nav
    elif isinstance(nav, dict | list):
        for entry in nav.values() if isinstance(nav, dict) else nav:
            yield from _uris(entry)


def _linked_files(document: Path) -> Iterator[Path]:
    """Files that a document links to and that the site has no page of yet."""
    for target in re.findall(r"\]\(([^)#\s]+)", document.read_text(encoding="utf-8")):
        path = (document.parent / target).resolve()
        if path.is_relative_to(ROOT) and path.is_file() and _uri(path).startswith("source/"):
            yield path


def _uri(path: Path) -> str:
    """What MkDocs calls the page, or the picture, that a file of the repository is in the site."""
    name = path.relative_to(ROOT).as_posix()
    if path.is_relative_to(DOCS) and path.suffix != ".py":
        return path.relative_to(DOCS).as_posix()
    return ROOT_PAGES.get(name) or f"source/{name}.md"


class _Links(Extension, Treeprocessor):
    """Turns links to files of the repository into links to the pages of these files.

    Attributes:
        page: the page under way, as MkDocs names it.
    """

    page = ""

    def extendMarkdown(self, md: Markdown) -> None:
        # After inline patterns (20), which make links, and before MkDocs (0), which checks them.
        md.treeprocessors.register(self, "repository_links", 10)

    def run(self, root: Element) -> None:
        for element in root.iter():
            attribute = "src" if element.tag == "img" else "href"
            target = element.get(attribute)
            if target is not None:
                self._turn(element, attribute, target)

    def _turn(self, element: Element, attribute: str, target: str) -> None:
        parts = urlsplit(target)
        if parts.scheme or parts.netloc or not parts.path:
            return
        at_root = self.page in ROOT_PAGES.values()
        home = ROOT if at_root else DOCS / posixpath.dirname(self.page)
        path = Path(posixpath.normpath(home / parts.path))
        if path.is_dir():
            # A folder has no page; its name stays as text.
            element.tag = "span"
            del element.attrib[attribute]
        elif path.is_relative_to(ROOT) and path.is_file():
            relative = posixpath.relpath(_uri(path), posixpath.dirname(self.page) or ".")
            element.set(attribute, urlunsplit(parts._replace(path=relative)))


_LINKS = _Links()
