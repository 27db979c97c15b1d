"""Getting ONNX Runtime through npm: the published archive, or nothing."""

from __future__ import annotations

import hashlib
import io
import os
import sys
import tarfile

import pytest

from zoo.errors import PageError
from zoo.page import runtime


def archive() -> bytes:
    """An archive as npm packs it, with more in it than is needed."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as members:
        for name in (*(f"package/dist/{name}" for name in runtime.NAMES), "package/README.md"):
            content = name.encode()
            member = tarfile.TarInfo(name)
            member.size = len(content)
            members.addfile(member, io.BytesIO(content))
    return stream.getvalue()


@pytest.fixture
def npm(tmp_path, monkeypatch):
    """A program called npm, and where it writes what it is told."""
    (tmp_path / "archive").write_bytes(archive())
    program = tmp_path / "bin" / "npm"
    program.parent.mkdir()
    program.write_text(
        f"#!{sys.executable}\nimport pathlib, shutil, sys\n"
        f"pathlib.Path({str(tmp_path / 'told')!r}).write_text(' '.join(sys.argv[1:]))\n"
        f"shutil.copy({str(tmp_path / 'archive')!r}, 'onnxruntime-web.tgz')\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    monkeypatch.setattr(runtime, "FOLDER", tmp_path / "onnxruntime")
    return program


def test_the_files_are_taken_out_of_the_published_archive(npm, tmp_path, monkeypatch):
    monkeypatch.setattr(runtime, "SHA256", hashlib.sha256(archive_of(tmp_path)).hexdigest())
    runtime.fetch()
    assert (tmp_path / "told").read_text() == f"pack --silent onnxruntime-web@{runtime.VERSION}"
    assert sorted(path.name for path in runtime.FOLDER.iterdir()) == sorted(runtime.NAMES)
    for path in runtime.runtime_files():
        assert path.read_text() == f"package/dist/{path.name}"


def archive_of(folder) -> bytes:
    return (folder / "archive").read_bytes()


def test_another_archive_is_refused_and_nothing_is_left(npm):
    with pytest.raises(PageError, match="not as published: SHA-256"):
        runtime.fetch()
    assert not runtime.FOLDER.exists()


def test_npm_says_why_it_failed(npm):
    npm.write_text("#!/bin/sh\necho 'npm error 404 no such package' >&2\nexit 1\n")
    with pytest.raises(PageError, match=r"npm pack .* failed: npm error 404"):
        runtime.fetch()


def test_a_missing_npm_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PageError, match=r"npm is missing: install Node\.js"):
        runtime.fetch()
