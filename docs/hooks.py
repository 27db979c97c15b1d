"""What MkDocs does beyond its configuration: pages out of the code, links into the repository.

Named in `mkdocs.yml` under `hooks`. Everything here is made at build time and nothing of it is
written into `docs`:

- `README.md`, `CONTRIBUTING.md` and `CHANGELOG.md` are pages as they stand at the root;
- `api/MODULE.md` is a page for every such entry of `nav`; mkdocstrings fills it, and
  `api/index.md` says what each module is for;
- `source/PATH.md` shows a file of the repository that some document links to;
- `try/` is the page of `zoo page`, where the checkout has ONNX Runtime for browsers.

A link in a document leads, on a code host, to a file of the repository. Here it is turned to the
page of that file. A picture that is a paragraph of its own becomes a figure: its title is the
caption, and it leads to the picture in full size.
"""

from __future__ import annotations

import ast
import html
import logging
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from xml.etree.ElementTree import Element, SubElement

from markdown import Markdown
from markdown.extensions import Extension
from markdown.treeprocessors import Treeprocessor
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

_LOG = logging.getLogger("mkdocs.hooks")

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
# MkDocs would take a README for the index of its folder.
ROOT_PAGES = {
    "README.md": "overview.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
_LANGUAGES = {".py": "python", ".toml": "toml", ".json": "json"}
_API_INDEX = "api/index.md"
_TRY = "try"
# Where the document of the page leads to it: MkDocs knows of no page that it did not make.
_TRY_MARK = "<!-- the page itself -->"
_TRY_LINK = f'<p><a class="md-button" href="{_TRY}/index.html">Open the page</a></p>'
# A name in the text that is longer may be broken to fit a narrow window.
_LONGEST_WHOLE = 30


def on_config(config: MkDocsConfig) -> None:
    """Adds the extension for links, pictures and names."""
    config.markdown_extensions.append(_DOCUMENT)


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Adds the pages that are not files of `docs`."""
    for name, uri in ROOT_PAGES.items():
        text = (ROOT / name).read_text(encoding="utf-8")
        files.append(File.generated(config, uri, content=text))
    files.append(File.generated(config, _API_INDEX, content=api_index(config.nav)))
    for uri in _api_uris(config.nav):
        module = Path(uri).stem
        files.append(File.generated(config, uri, content=f"# {module}\n\n::: {module}\n"))
    documents = [*DOCS.rglob("*.md"), *(ROOT / name for name in ROOT_PAGES)]
    for path in sorted({path for document in documents for path in _linked_files(document)}):
        files.append(File.generated(config, _uri(path), content=source_page(path)))


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Tells the extension which page it is about to see; leads to the page that colours."""
    _DOCUMENT.page = page.file.src_uri
    return markdown.replace(_TRY_MARK, _TRY_LINK) if _has_runtime() else markdown


def on_post_build(config: MkDocsConfig) -> None:
    """Writes the page that colours photographs, `make docs` having got what it needs."""
    from zoo.page.folder import write_page

    if _has_runtime():
        write_page(Path(config.site_dir) / _TRY, say=_LOG.info)
    else:
        _LOG.info("no %s/: type make page-runtime first", _TRY)


def _has_runtime() -> bool:
    from zoo.errors import PageError
    from zoo.page.runtime import runtime_files

    try:
        return bool(runtime_files())
    except PageError:
        return False


def api_index(nav: Any) -> str:
    """A table of modules for each group of `nav`, with the first line of each docstring."""
    (groups,) = (entry["API"] for entry in nav if "API" in entry)
    text = ["# API", "What each module is for, out of its docstring."]
    for title, uris in (pair for group in groups for pair in group.items()):
        if isinstance(uris, str):  # the table itself
            continue
        rows = [
            f"| [`{Path(uri).stem}`]({posixpath.basename(uri)}) | {_first_line(Path(uri).stem)} |"
            for uri in uris
        ]
        text += [f"## {title}", "\n".join(["| module | holds |", "| --- | --- |", *rows])]
    return "\n\n".join(text) + "\n"


def _first_line(module: str) -> str:
    """Of the docstring of a module, which is not imported."""
    path = ROOT.joinpath(*module.split("."))
    source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    docstring = ast.get_docstring(ast.parse(source.read_text(encoding="utf-8")))
    assert docstring, f"{module} has no docstring"
    return docstring.splitlines()[0]


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


def _api_uris(nav: Any) -> Iterator[str]:
    """The pages of modules that `nav` names."""
    return (uri for uri in _uris(nav) if uri.startswith("api/") and uri != _API_INDEX)


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


class _Document(Extension, Treeprocessor):
    """Turns links to files of the repository, makes figures, and keeps short names whole.

    Attributes:
        page: the page under way, as MkDocs names it.
    """

    page = ""

    def extendMarkdown(self, md: Markdown) -> None:
        # After inline patterns (20), which make links, and before MkDocs (0), which checks them.
        md.treeprocessors.register(self, "repository_documents", 10)

    def run(self, root: Element) -> None:
        for element in list(root.iter()):
            if element.tag == "p" and [child.tag for child in element] == ["img"]:
                self._frame(element)
            elif element.tag == "code" and re.fullmatch(
                rf"\S{{1,{_LONGEST_WHOLE}}}", _text(element)
            ):
                element.set("class", "whole")
        for element in root.iter():
            attribute = "src" if element.tag == "img" else "href"
            target = element.get(attribute)
            if target is not None:
                self._turn(element, attribute, target)

    def _frame(self, paragraph: Element) -> None:
        (picture,) = paragraph
        if (paragraph.text or "").strip() or (picture.tail or "").strip():
            return
        paragraph.tag = "figure"
        paragraph.remove(picture)
        SubElement(paragraph, "a", href=picture.get("src", "")).append(picture)
        if caption := picture.attrib.pop("title", ""):
            SubElement(paragraph, "figcaption").text = caption

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


def _text(element: Element) -> str:
    return html.unescape("".join(element.itertext()))


_DOCUMENT = _Document()
