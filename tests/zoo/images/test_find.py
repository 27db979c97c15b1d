"""Which files of a folder are photographs, and what is said of the others."""

import os
import socket
from io import BytesIO

import pytest
from PIL import Image

from zoo.images import find
from zoo.images.find import PassedOver, choose_images, find_images, is_image


def content(form, **options):
    file = BytesIO()
    Image.new("L", (3, 2)).save(file, form, **options)
    return file.getvalue()


def test_find_images(tmp_path):
    for name in ["b/2.PNG", "b/1.jpeg", "a.jpg", "b.txt", ".hidden.png", ".git/x.png", "b/c/3.tif"]:
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).touch()
    (tmp_path / "outside.png").touch()
    (tmp_path / "in/link.png").symlink_to(tmp_path / "outside.png")
    (tmp_path / "in/dangling.png").symlink_to(tmp_path / "nothing")
    (tmp_path / "in/b/loop").symlink_to(tmp_path / "in", target_is_directory=True)
    os.mkfifo(tmp_path / "in/pipe.jpg")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.fspath(tmp_path / "in/z.jpg"))
    found = find_images(tmp_path / "in")
    names = [path.relative_to(tmp_path / "in").as_posix() for path in found.files]
    assert names == ["a.jpg", "b/1.jpeg", "b/2.PNG", "b/c/3.tif"]
    line = found.passed_over.line().replace(os.fspath(tmp_path), "")
    assert line == (
        "passed over: 3 symbolic links (such as /in/b/loop), "
        "2 hidden files and folders (such as /in/.git), "
        "2 pipes, sockets and devices (such as /in/pipe.jpg), "
        "1 file of a kind that is not read (/in/b.txt)"
    )
    assert not found.passed_over.failed


def test_a_folder_with_photographs_alone_passes_nothing_over(tmp_path):
    (tmp_path / "a.jpg").touch()
    assert find_images(tmp_path).passed_over.line() == ""


def test_a_folder_that_cannot_be_listed_stops_nothing_else(tmp_path, monkeypatch):
    (tmp_path / "lost+found").mkdir()
    (tmp_path / "z").mkdir()
    for name in ("a.jpg", "z/b.jpg"):
        (tmp_path / name).touch()
    scan = os.scandir

    def scandir(path):
        if str(path).endswith("lost+found"):
            raise PermissionError(13, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr("zoo.images.find.os.scandir", scandir)
    found = find_images(tmp_path)
    assert [path.name for path in found.files] == ["a.jpg", "b.jpg"]
    assert found.passed_over.failed == [f"{tmp_path / 'lost+found'}: Permission denied"]
    assert found.passed_over.line() == (
        f"passed over: 1 folder that cannot be listed ({tmp_path}/lost+found: Permission denied)"
    )


def test_a_folder_that_is_not_there_is_named(tmp_path):
    found = find_images(tmp_path / "none")
    assert (found.files, len(found.passed_over.failed)) == ([], 1)


@pytest.mark.parametrize(
    ("name", "bytes_", "is_one"),
    [
        ("a.jfif", b"", True),  # as empty as a .jpg may be: an error of that file
        ("a.JPE", b"", True),
        ("scan", content("JPEG"), True),
        ("IMG.JPG_original", content("JPEG"), True),
        ("a.0001", content("PNG"), True),
        ("a.dat", content("WEBP"), True),
        ("a.old", content("BMP"), True),
        ("scan", content("TIFF"), True),
        ("a.nef", content("TIFF"), False),  # as cameras' raw files begin
        ("a.gif", content("GIF"), False),
        ("notes.txt", b"BMW, 1953, in front of the house", False),
        ("notes.txt", b"", False),
        ("a.wav", b"RIFF\0\0\0\0WAVEfmt ", False),
    ],
)
def test_content_decides_where_the_suffix_does_not(tmp_path, name, bytes_, is_one):
    (tmp_path / name).write_bytes(bytes_)
    assert is_image(os.fspath(tmp_path / name)) == is_one
    assert [path.name for path in find_images(tmp_path).files] == [name] * is_one


def test_chosen_paths_may_be_links_and_need_not_be_readable(tmp_path):
    (tmp_path / "a.jpg").touch()
    (tmp_path / "link.jpg").symlink_to(tmp_path / "a.jpg")
    (tmp_path / "round.jpg").symlink_to(tmp_path / "round.jpg")
    (tmp_path / "box").mkdir()
    found = choose_images([os.fspath(path) for path in sorted(tmp_path.iterdir())])
    assert [path.name for path in found.files] == ["a.jpg", "link.jpg"]
    assert found.passed_over.line() == (
        f"passed over: 1 symbolic link ({tmp_path}/round.jpg), "
        f"1 folder that a pattern matches ({tmp_path}/box)"
    )


def test_two_searches_are_one_line():
    passed, other = PassedOver(), PassedOver()
    passed.add(find.LINK, "b")
    other.add(find.LINK, "a")
    other.add(find.UNREADABLE, "c", "Input/output error")
    passed.merge(other)
    assert passed.failed == ["c: Input/output error"]
    assert passed.line() == (
        "passed over: 1 entry that cannot be read (c: Input/output error), "
        "2 symbolic links (such as a)"
    )
