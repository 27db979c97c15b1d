"""Puts trained weights into the package, in half precision: what `zoo weights list` calls bundled.

    python docs/bundle.py "96,725 images of Tiny-ImageNet" runs/<time>/weights/*.safetensors

Each file becomes `NAME@release` of the model that it was trained for, and takes the place of
the one that was there.
"""

import argparse
import tomllib
from pathlib import Path

import zoo
from zoo.weights.download import file_sha256
from zoo.weights.file import Origin, model_of

FOLDER = Path(__file__).parent.parent / "plugins/zoo_plugins/release"
SOURCE = "docs/release.md"
HEAD = """\
# Trained by the zoo's own recipe; docs/release.md tells how, on what, and how good they are.
# Written by docs/bundle.py.
"""


def main() -> None:
    """Writes the files and their list."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("trained_on", help="the images, in words")
    parser.add_argument("files", type=Path, nargs="+")
    given = parser.parse_args()
    listing = FOLDER / "weights.toml"
    entries = {e["model"]: e for e in tomllib.loads(listing.read_text("utf-8"))["weights"]}
    for file in given.files:
        model = model_of(file)
        colorizer = zoo.load(model, weights=file, device="cpu")
        colorizer.origin = Origin(colorizer.info.license, SOURCE, given.trained_on)
        bundled = FOLDER / f"{model}.safetensors"
        colorizer.save(bundled, half=True)
        entries[model] = {
            "name": "release",
            "model": model,
            "file": bundled.name,
            "sha256": file_sha256(bundled),
            "size": bundled.stat().st_size,
            "license": colorizer.origin.license,
            "source": SOURCE,
            "trained_on": given.trained_on,
        }
    tables = [
        "\n".join(["[[weights]]", *(f"{k} = {quote(v)}" for k, v in entries[model].items()), ""])
        for model in sorted(entries)
    ]
    listing.write_text(HEAD + "\n".join(tables), encoding="utf-8")


def quote(value: str | int) -> str:
    """A value as TOML has it."""
    return f'"{value}"' if isinstance(value, str) else str(value)


if __name__ == "__main__":
    main()
