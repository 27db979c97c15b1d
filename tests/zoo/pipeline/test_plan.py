"""What is made of which file, decided before any work."""

import sys

import pytest

from zoo.errors import InputError, OptionError
from zoo.pipeline.plan import Settings, plan


def test_plan_keeps_the_tree_of_folders_and_the_names_of_frames(scans, tmp_path):
    out = tmp_path / "out"
    jobs = plan([scans], out)
    names = ["a.png", "b.jpg", "box/0007.png", "box/a.png", "c.tif"]
    assert [str(job.target.relative_to(out)) for job in jobs] == names
    assert all(job.source == scans / job.target.relative_to(out) for job in jobs)
    (scans / "b.jpg").rename(scans / "b.JPEG")
    as_jpg = [job.target.name for job in plan([scans], out, suffix="JPG")]
    assert as_jpg == ["a.jpg", "b.JPEG", "0007.jpg", "a.jpg", "c.jpg"]


def test_plan_takes_files_and_patterns_once(scans, tmp_path):
    out = tmp_path / "out"
    assert [j.source.name for j in plan([f"{scans}/*.*"], out)] == ["a.png", "b.jpg", "c.tif"]
    assert [j.source.name for j in plan([f"{scans}/**/0*.png"], out)] == ["0007.png"]
    assert len(plan([scans / "a.png", f"{scans}/a*", scans / "a.png"], out)) == 1
    odd = scans / "what[1].png"
    (scans / "b.jpg").rename(odd)
    assert plan([str(odd)], out)[0].source == odd


def test_plan_for_one_file(scans, tmp_path):
    def target(out, **changes):
        return plan([scans / "a.png"], out, **changes)[0].target

    assert target(tmp_path / "new.jpg") == tmp_path / "new.jpg"
    assert target(tmp_path / "new") == tmp_path / "new" / "a.png"
    assert target(f"{tmp_path}/new.jpg/") == tmp_path / "new.jpg" / "a.png"
    with pytest.raises(OptionError, match=r"x\.gif: this format is not written; written are jpg"):
        target(tmp_path / "x.gif")
    with pytest.raises(OptionError, match="do not agree"):
        target(tmp_path / "x.jpg", suffix="png")
    with pytest.raises(OptionError, match="'gif' is not written"):
        target(tmp_path, suffix="gif")
    with pytest.raises(InputError, match="grey only"):
        target(tmp_path, suffix="pgm")


def test_plan_refuses_heic_without_its_extra_where_it_is_asked_for(scans, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    hint = r"written with pillow-heif: type pip install 'colorizer-zoo\[heic\]'"
    with pytest.raises(InputError, match=hint):
        plan([scans / "a.png"], tmp_path / "x.heic")
    with pytest.raises(InputError, match=hint):
        plan([scans], tmp_path / "out", suffix="heic")
    # One among others that is of that format stops nothing else.
    (scans / "d.heic").write_bytes(b"\0\0\0\x18ftypheic")
    assert tmp_path / "out" / "d.heic" in [job.target for job in plan([scans], tmp_path / "out")]


def test_plan_refuses_two_inputs_for_one_output(scans, tmp_path):
    given = [scans / "a.png", scans / "box" / "a.png"]
    with pytest.raises(InputError, match=r"would both become .*a\.png; give the folder"):
        plan(given, tmp_path / "out")
    (scans / "c.png").write_bytes((scans / "a.png").read_bytes())
    with pytest.raises(InputError, match=r"c\.png.*c\.tif.*both become"):
        plan([scans], tmp_path / "out", suffix="png")


def test_plan_knows_an_output_by_the_names_of_its_folder(scans, tmp_path):
    out = tmp_path / "out"
    (out / "box").mkdir(parents=True)
    (out / "again").symlink_to(out / "box")
    (scans / "again").mkdir()
    (scans / "again" / "a.png").write_bytes((scans / "a.png").read_bytes())
    with pytest.raises(InputError, match="would both become"):
        plan([scans], out)


def test_nothing_to_do(tmp_path):
    with pytest.raises(InputError, match=r"there are no images in .*; read are \.bmp"):
        plan([tmp_path], tmp_path / "out")
    with pytest.raises(InputError, match="no images"):
        plan([f"{tmp_path}/*.jpg"], tmp_path / "out")
    with pytest.raises(InputError, match="there is no such file or folder"):
        plan([tmp_path / "x.jpg"], tmp_path / "out")


@pytest.mark.parametrize(
    "settings",
    [
        {"saturation": 0},
        {"saturation": 3.1},
        {"working_size": 2},
        {"working_size": "large"},
        {"batch_size": 0},
        {"workers": 0},
    ],
)
def test_settings_out_of_range(settings):
    with pytest.raises(OptionError, match=str(next(iter(settings.values())))):
        Settings(**settings)
