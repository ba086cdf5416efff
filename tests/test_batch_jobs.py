"""Which inputs are read, and which output each gets."""

import os
from pathlib import Path

import numpy as np
import pytest

from adadsr import batch, images
from adadsr.batch import Status
from adadsr.errors import InputError
from batch_samples import write


def pairs(jobs):
    return {str(job.source): str(job.target) for job in jobs.to_run}


def test_a_file_goes_to_the_file_that_is_named(here):
    write(here / "a.png")
    assert pairs(batch.find_jobs(["a.png"], "b.jpg")) == {"a.png": "b.jpg"}


@pytest.mark.parametrize("out", ["out", "out/", "results.v2"])
def test_a_file_goes_to_a_folder_under_its_name(here, out):
    write(here / "a.png")
    assert pairs(batch.find_jobs(["a.png"], out)) == {"a.png": str(Path(out) / "a.png")}


def test_an_existing_folder_is_a_folder_whatever_its_name(here):
    write(here / "a.png")
    (here / "x.png").mkdir()
    assert pairs(batch.find_jobs(["a.png"], "x.png")) == {"a.png": "x.png/a.png"}


def test_folders_keep_their_structure_without_hidden_and_other_files(here):
    for name in ("in/a.png", "in/deep/er/b.jpg", "in/.hidden/c.png", "in/._a.png"):
        write(here / name)
    (here / "in/notes.txt").write_text("x")
    jobs = batch.find_jobs(["in"], "out")
    assert pairs(jobs) == {"in/a.png": "out/a.png", "in/deep/er/b.jpg": "out/deep/er/b.jpg"}
    assert not jobs.failures


def test_patterns_keep_the_structure_from_the_first_wildcard_on(here):
    for name in ("in/x/a.png", "in/y/a.png", "in/y/b.txt.png"):
        write(here / name)
    (here / "in/y/notes.txt").write_text("x")
    expected = {"in/x/a.png": "out/x/a.png", "in/y/a.png": "out/y/a.png"}
    assert pairs(batch.find_jobs(["in/*/a.png"], "out")) == expected
    assert pairs(batch.find_jobs(["in/**/a.png"], "out")) == expected
    assert pairs(batch.find_jobs(["in/*"], "out")) == {**expected, "in/y/b.txt.png": "out/y/b.txt.png"}


def test_a_file_whose_name_looks_like_a_pattern(here):
    write(here / "a[1].png")
    write(here / "a1.png")
    assert pairs(batch.find_jobs(["a[1].png"], "out")) == {"a[1].png": "out/a[1].png"}


def test_outputs_inside_an_input_folder_are_not_inputs(here):
    for name in ("in/a.png", "in/out/a.png", "in/out/deep/b.png"):
        write(here / name)
    for inputs in (["in"], ["in/*"], ["in/**/*.png"]):
        assert pairs(batch.find_jobs(inputs, "in/out", overwrite=True)) == {"in/a.png": "in/out/a.png"}


def test_inputs_inside_the_output_folder_are_inputs(here):
    write(here / "out/in/a.png")
    for inputs in (["out/in"], ["out/in/*.png"]):
        assert pairs(batch.find_jobs(inputs, "out")) == {"out/in/a.png": "out/a.png"}


def test_an_input_given_twice_is_run_once(here):
    write(here / "in/a.png")
    assert len(batch.find_jobs(["in", "in/a.png", "./in/a.png", "in/*.png"], "out").to_run) == 1


def test_format_and_depth_views(here):
    write(here / "in/a.jpg")
    (here / "in/photo").write_bytes((here / "in/a.jpg").read_bytes())
    jobs = batch.find_jobs(["in/a.jpg", "in/photo"], "out", suffix=".webp", depth_views=True)
    assert [(str(job.target), str(job.depth_view)) for job in jobs.to_run] == [
        ("out/a.webp", "out/a.depth.png"),
        ("out/photo.webp", "out/photo.depth.png"),
    ]
    assert pairs(batch.find_jobs(["in/photo"], "out")) == {"in/photo": "out/photo.png"}


def test_existing_outputs_are_left_alone(here):
    write(here / "in/a.png")
    write(here / "in/b.png")
    write(here / "out/a.png")
    jobs = batch.find_jobs(["in"], "out")
    assert pairs(jobs) == {"in/b.png": "out/b.png"}
    (result,) = batch.settled(jobs)
    assert result.status is Status.SKIPPED
    assert "--overwrite" in result.reason
    assert len(batch.find_jobs(["in"], "out", overwrite=True).to_run) == 2


def test_an_output_without_its_depth_map_is_skipped_and_it_says_so(here):
    write(here / "in/a.png")
    write(here / "out/a.png")
    (result,) = batch.settled(batch.find_jobs(["in"], "out", depth_views=True))
    assert (result.status, "but its depth map does not; pass --overwrite" in result.reason) == (Status.SKIPPED, True)
    write(here / "out/a.depth.png")
    (result,) = batch.settled(batch.find_jobs(["in"], "out", depth_views=True))
    assert "depth map" not in result.reason


def test_depth_views_of_outputs_that_differ_in_suffix_only(here):
    for name in ("in/a.png", "in/a.jpg", "in/b.png", "in/deep/a.png"):
        write(here / name)
    jobs = batch.find_jobs(["in"], "out", depth_views=True)
    assert {str(job.target): str(job.depth_view) for job in jobs.to_run} == {
        "out/a.jpg": "out/a.jpg.depth.png",
        "out/a.png": "out/a.png.depth.png",
        "out/b.png": "out/b.depth.png",
        "out/deep/a.png": "out/deep/a.depth.png",
    }


@pytest.mark.parametrize(
    ("inputs", "out", "message"),
    [
        (["in"], "in", "output and input folder are the same"),
        (["in"], "in2/../in", "output and input folder are the same"),
        (["in/a.png"], "in", "would overwrite the input in/a.png"),
        (["in/a.png"], "in/a.png", "would overwrite the input in/a.png"),
        (["in2/a.png", "in/a.png"], "in/link.png", "names one file, but"),
        (["in/a.png", "in/b.png"], "x.png", "names one file, but"),
        (["in"], "x.png", "names one file, but"),
        (["in/*.png"], "x.png", "names one file, but"),
        (["in/a.png"], "x.bmp", ".bmp files cannot be written"),
        (["in/a.png"], "x.tga", ".tga files cannot be written"),
        (["in/a.png"], "x.heic", ".heic files cannot be written"),
        (["in/a.png"], "x.mp4", ".mp4 files cannot be written"),
        (["in/a.png"], "notes", "is a file; pass a folder"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_runs(here, inputs, out, message):
    for name in ("in/a.png", "in/b.png", "in2/a.png"):
        write(here / name)
    (here / "notes").write_text("x")
    with pytest.raises(InputError, match=message):
        batch.find_jobs(inputs, out, overwrite=True)


def test_a_link_to_an_input_is_no_output(here):
    write(here / "a.png")
    os.symlink("a.png", here / "b.png")
    with pytest.raises(InputError, match=r"would overwrite the input a\.png"):
        batch.find_jobs(["a.png"], "b.png", overwrite=True)


def test_a_hard_link_to_an_input_is_another_file(here):
    """As `cp -al` and programs that remove duplicates make them."""
    write(here / "in/a.png")
    (here / "out").mkdir()
    os.link("in/a.png", "out/a.png")
    assert pairs(batch.find_jobs(["in"], "out", overwrite=True)) == {"in/a.png": "out/a.png"}
    images.write_image("out/a.png", images.picture_from_array(np.zeros((3, 3, 3), np.uint8)))
    assert images.read_size("in/a.png") == (12, 10)


def test_an_input_under_another_name_is_not_overwritten(here, monkeypatch):
    """As through a bind mount or in another case: the paths differ, the files do not."""
    write(here / "in/a.png")
    os.symlink("in", here / "mounted")
    monkeypatch.setattr(os.path, "realpath", os.path.abspath)
    for inputs in (["in/a.png"], ["in/*.png"]):
        with pytest.raises(InputError, match=r"would overwrite the input in/a\.png"):
            batch.find_jobs(inputs, "mounted", overwrite=True)
    with pytest.raises(InputError, match="output and input folder are the same"):
        batch.find_jobs(["in"], "mounted", overwrite=True)
    write(here / "in/out/a.png")
    for inputs in (["in"], ["in/*"], ["in/**/*.png"]):
        assert pairs(batch.find_jobs(inputs, "mounted/out", overwrite=True)) == {"in/a.png": "mounted/out/a.png"}


def test_a_depth_view_does_not_replace_an_image_and_a_name_fits_one_format(here):
    write(here / "in/a.png")
    write(here / "in/a.depth.png")
    jobs = batch.find_jobs(["in"], "out", depth_views=True)
    assert {str(job.target): str(job.depth_view) for job in jobs.to_run} == {
        "out/a.png": "out/a.png.depth.png",
        "out/a.depth.png": "out/a.depth.depth.png",
    }
    with pytest.raises(InputError, match="drop --format"):
        batch.find_jobs(["in/a.png"], "x.png", suffix=".webp")


@pytest.mark.parametrize(("out", "suffix"), [("x.jpeg", ".jpg"), ("x.jpg", ".jpeg"), ("x.TIF", ".tiff")])
def test_another_suffix_of_the_same_format_is_no_contradiction(here, out, suffix):
    write(here / "a.png")
    assert pairs(batch.find_jobs(["a.png"], out, suffix=suffix)) == {"a.png": out}
