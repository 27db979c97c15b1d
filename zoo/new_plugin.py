"""A new plugin from a template: a small distribution that works as it is written."""

from __future__ import annotations

import keyword
import re
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from zoo import plugins
from zoo.errors import ZooError
from zoo.files import check_writable
from zoo.info import INTERFACE

TEMPLATES: Mapping[str, str] = {
    "unet": "a small U-Net regresses chroma",
    "classifier": "chroma is a choice among 313 bins of ab, decoded by the annealed mean",
    "wrapper": "a network from another library, in the units of the zoo",
}
"""The templates to start from, and the idea of each."""


@dataclass(frozen=True)
class NewPlugin:
    """A new colorizer that is to be written.

    Attributes:
        name: the name of the colorizer, its entry point and its module.
        template: a key of `TEMPLATES`.
    """

    name: str
    template: str

    @property
    def distribution(self) -> str:
        """The distribution's name: `my-colorizer` for `my_colorizer`."""
        return self.name.replace("_", "-")

    @property
    def class_name(self) -> str:
        """The class's name: `MyColorizer` for `my_colorizer`."""
        return "".join(part.capitalize() for part in self.name.split("_"))

    @property
    def title(self) -> str:
        """The name for people: `My colorizer` for `my_colorizer`."""
        return self.name.replace("_", " ").capitalize()

    def check(self) -> None:
        """Raises `ZooError` where name or template cannot be had, and says what to type."""
        if self.template not in TEMPLATES:
            known = ", ".join(TEMPLATES)
            raise ZooError(f"there is no template {self.template!r}; type one of {known}")
        if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", self.name):
            better = re.sub(r"[^a-z0-9]+", "_", self.name.lower()).strip("_0123456789")
            raise ZooError(
                f"{self.name!r} cannot be the name of a module; use a-z, 0-9 and single _, such as "
                f"{better or 'my_colorizer'}"
            )
        if keyword.iskeyword(self.name) or keyword.issoftkeyword(self.name):
            raise ZooError(f"{self.name!r} is a word of Python's own; type {self.name}_colorizer")
        for plugin in plugins.installed(plugins.COLORIZERS):
            if plugin.name == self.name:
                raise ZooError(
                    f"the name {self.name!r} is taken by {plugin.distribution}; choose another"
                )
        if self.name in sys.stdlib_module_names or find_spec(self.name) is not None:
            raise ZooError(
                f"a module {self.name!r} is installed already and would stand in the way; "
                f"type {self.name}_colorizer"
            )

    def render(self) -> dict[str, str]:
        """The files by their paths in the distribution.

        Raises:
            ZooError: the class would hide a name that the template uses.
        """
        from jinja2 import Environment, PackageLoader, StrictUndefined

        environment = Environment(  # noqa: S701 - Python, TOML and Markdown are no HTML
            loader=PackageLoader("zoo"), undefined=StrictUndefined, keep_trailing_newline=True
        )
        sources = {
            "pyproject.toml": "pyproject.toml",
            "README.md": "README.md",
            f"{self.name}.py": f"{self.template}.py",
            "tests/test_conformance.py": "test_conformance.py",
        }
        values = {
            "name": self.name,
            "template": self.template,
            "idea": TEMPLATES[self.template],
            "distribution": self.distribution,
            "class_name": self.class_name,
            "interface": INTERFACE,
            "title": self.title,
        }
        files = {
            target: environment.get_template(f"{source}.jinja").render(values)
            for target, source in sources.items()
        }
        names = re.findall(rf"\b{self.class_name}\b", files[f"{self.name}.py"])
        if len(names) > 1:
            raise ZooError(
                f"the class of {self.name!r} would be {self.class_name}, which the template uses "
                f"for something else; type my_{self.name}"
            )
        return files

    def write(self, folder: Path) -> list[Path]:
        """Writes the distribution to a folder that is not there yet: all of it or nothing.

        Returns:
            The files, in the order of `render`.

        Raises:
            ZooError: name or template cannot be had, the folder exists, or cannot be made.
        """
        self.check()
        if folder.exists() or folder.is_symlink():
            raise ZooError(f"{folder} exists, and nothing is overwritten; type -o OTHER-FOLDER")
        files = self.render()
        check_writable([folder])
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(
            dir=folder.parent, prefix=".zoo-new-", ignore_cleanup_errors=True
        ) as partial:
            inside = Path(partial, folder.name)
            for name, text in files.items():
                (inside / name).parent.mkdir(parents=True, exist_ok=True)
                (inside / name).write_text(text, encoding="utf-8")
            inside.rename(folder)
        return [folder / name for name in files]
