"""ONNX Runtime for browsers: which files the page needs, and the program that gets them.

They are inside the wheel. In a checkout `make page-runtime` runs this module, which lets `npm pack`
fetch the published archive, compares its hash, and takes the files out of it.
"""

from __future__ import annotations

import hashlib
import io
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from zoo.errors import PageError
from zoo.files import atomic_path

PACKAGE, VERSION = "onnxruntime-web", "1.22.0"
SHA256 = "e293551f9d36d003e293d0f2937fee7b3dfdcef76d71d1449b55e2d4157c7aea"

BINARY = "ort-wasm-simd-threaded.wasm"
NAMES = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", BINARY)
"""The smallest build: WebAssembly alone, without GPUs."""

FOLDER = Path(__file__).parent / "onnxruntime"
"""The folder of them; git ignores it, the wheel holds it."""


def runtime_files() -> list[Path]:
    """The files of ONNX Runtime.

    Raises:
        PageError: this installation lacks them.
    """
    files = [FOLDER / name for name in NAMES]
    if not all(file.is_file() for file in files):
        raise PageError(
            "this checkout lacks ONNX Runtime for browsers: type make page-runtime, which needs npm"
        )
    return files


def unpack(archive: bytes) -> None:
    """Takes the files out of the published archive.

    Raises:
        PageError: it is another archive.
    """
    found = hashlib.sha256(archive).hexdigest()
    if found != SHA256:
        raise PageError(f"{PACKAGE} {VERSION} is not as published: SHA-256 {found}, not {SHA256}")
    with tarfile.open(fileobj=io.BytesIO(archive)) as members:
        for name in NAMES:
            member = members.extractfile(f"package/dist/{name}")
            assert member is not None
            with atomic_path(FOLDER / name) as partial:
                partial.write_bytes(member.read())


def fetch() -> None:
    """Gets the files from npm's registry.

    Raises:
        PageError: there is no npm, it gets no archive, or another one.
    """
    npm = shutil.which("npm")
    if npm is None:
        raise PageError("npm is missing: install Node.js, which the page's files come through")
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(  # noqa: S603 - no shell, and nothing of it was typed by anybody
            [npm, "pack", "--silent", f"{PACKAGE}@{VERSION}"],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        archives = list(Path(folder).glob("*.tgz"))
        if done.returncode or not archives:
            reason = (done.stderr or done.stdout).strip().splitlines()
            raise PageError(f"npm pack {PACKAGE}@{VERSION} failed: {reason[-1] if reason else ''}")
        unpack(archives[0].read_bytes())


if __name__ == "__main__":
    try:
        fetch()
    except PageError as error:
        sys.exit(f"error: {error}")
