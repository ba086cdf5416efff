"""Which inputs are read, and which output each gets."""

import os
from pathlib import Path

import pytest

from adadsr import batch
from adadsr.batch import Status
from adadsr.errors import InputError
from batch_samples import write


def pairs(plan):
    return {str(job.source): str(job.target) for job in plan.jobs}


def test_a_file_goes_to_the_file_that_is_named(here):
    write(here / "a.png")
    assert pairs(batch.plan(["a.png"], "b.jpg")) == {"a.png": "b.jpg"}


@pytest.mark.parametrize("out", ["out", "out/", "results.v2"])
def test_a_file_goes_to_a_folder_under_its_name(here, out):
    write(here / "a.png")
    assert pairs(batch.plan(["a.png"], out)) == {"a.png": str(Path(out) / "a.png")}


def test_an_existing_folder_is_a_folder_whatever_its_name(here):
    write(here / "a.png")
    (here / "x.png").mkdir()
    assert pairs(batch.plan(["a.png"], "x.png")) == {"a.png": "x.png/a.png"}


def test_folders_keep_their_structure_without_hidden_and_other_files(here):
    for name in ("in/a.png", "in/deep/er/b.jpg", "in/.hidden/c.png", "in/._a.png"):
        write(here / name)
    (here / "in/notes.txt").write_text("x")
    plan = batch.plan(["in"], "out")
    assert pairs(plan) == {"in/a.png": "out/a.png", "in/deep/er/b.jpg": "out/deep/er/b.jpg"}
    assert not plan.failures


def test_patterns_keep_the_structure_from_the_first_wildcard_on(here):
    for name in ("in/x/a.png", "in/y/a.png", "in/y/b.txt.png"):
        write(here / name)
    (here / "in/y/notes.txt").write_text("x")
    expected = {"in/x/a.png": "out/x/a.png", "in/y/a.png": "out/y/a.png"}
    assert pairs(batch.plan(["in/*/a.png"], "out")) == expected
    assert pairs(batch.plan(["in/**/a.png"], "out")) == expected
    assert pairs(batch.plan(["in/*"], "out")) == {**expected, "in/y/b.txt.png": "out/y/b.txt.png"}


def test_a_file_whose_name_looks_like_a_pattern(here):
    write(here / "a[1].png")
    write(here / "a1.png")
    assert pairs(batch.plan(["a[1].png"], "out")) == {"a[1].png": "out/a[1].png"}


def test_outputs_inside_an_input_folder_are_not_inputs(here):
    for name in ("in/a.png", "in/out/a.png", "in/out/deep/b.png"):
        write(here / name)
    for inputs in (["in"], ["in/*"], ["in/**/*.png"]):
        assert pairs(batch.plan(inputs, "in/out", overwrite=True)) == {"in/a.png": "in/out/a.png"}


def test_inputs_inside_the_output_folder_are_inputs(here):
    write(here / "out/in/a.png")
    for inputs in (["out/in"], ["out/in/*.png"]):
        assert pairs(batch.plan(inputs, "out")) == {"out/in/a.png": "out/a.png"}


def test_an_input_given_twice_is_run_once(here):
    write(here / "in/a.png")
    assert len(batch.plan(["in", "in/a.png", "./in/a.png", "in/*.png"], "out").jobs) == 1


def test_format_and_depth_views(here):
    write(here / "in/a.jpg")
    (here / "in/photo").write_bytes((here / "in/a.jpg").read_bytes())
    plan = batch.plan(["in/a.jpg", "in/photo"], "out", suffix=".webp", depth_views=True)
    assert [(str(job.target), str(job.depth_view)) for job in plan.jobs] == [
        ("out/a.webp", "out/a.depth.png"),
        ("out/photo.webp", "out/photo.depth.png"),
    ]
    assert pairs(batch.plan(["in/photo"], "out")) == {"in/photo": "out/photo.png"}


def test_existing_outputs_are_left_alone(here):
    write(here / "in/a.png")
    write(here / "in/b.png")
    write(here / "out/a.png")
    plan = batch.plan(["in"], "out")
    assert pairs(plan) == {"in/b.png": "out/b.png"}
    (result,) = batch.settled(plan)
    assert result.status is Status.SKIPPED
    assert "--overwrite" in result.reason
    assert len(batch.plan(["in"], "out", overwrite=True).jobs) == 2


def test_an_output_without_its_depth_map_is_skipped_and_it_says_so(here):
    write(here / "in/a.png")
    write(here / "out/a.png")
    (result,) = batch.settled(batch.plan(["in"], "out", depth_views=True))
    assert (result.status, "but not its depth map; pass --overwrite" in result.reason) == (Status.SKIPPED, True)
    write(here / "out/a.depth.png")
    (result,) = batch.settled(batch.plan(["in"], "out", depth_views=True))
    assert "depth map" not in result.reason


def test_depth_views_of_outputs_that_differ_in_suffix_only(here):
    for name in ("in/a.png", "in/a.jpg", "in/b.png", "in/deep/a.png"):
        write(here / name)
    plan = batch.plan(["in"], "out", depth_views=True)
    assert {str(job.target): str(job.depth_view) for job in plan.jobs} == {
        "out/a.jpg": "out/a.jpg.depth.png",
        "out/a.png": "out/a.png.depth.png",
        "out/b.png": "out/b.depth.png",
        "out/deep/a.png": "out/deep/a.depth.png",
    }


@pytest.mark.parametrize(
    ("inputs", "out", "message"),
    [
        (["in", "in2"], "out", "in/a.png and in2/a.png would both be written to out/a.png"),
        (["in"], "in", "is an input folder too"),
        (["in"], "in2/../in", "is an input folder too"),
        (["in/a.png"], "in", "would replace the input in/a.png"),
        (["in/a.png"], "in/a.png", "would replace the input in/a.png"),
        (["in2/a.png", "in/a.png"], "in/link.png", "names one file, but"),
        (["in/a.png", "in/b.png"], "x.png", "names one file, but"),
        (["in"], "x.png", "names one file, but"),
        (["in/*.png"], "x.png", "names one file, but"),
        (["in/a.png"], "x.bmp", "files ending in .bmp are not written"),
        (["in/a.png"], "notes", "this is a file; give a folder"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_runs(here, inputs, out, message):
    for name in ("in/a.png", "in/b.png", "in2/a.png"):
        write(here / name)
    (here / "notes").write_text("x")
    with pytest.raises(InputError, match=message):
        batch.plan(inputs, out, overwrite=True)


def test_a_link_to_an_input_is_no_output(here):
    write(here / "a.png")
    os.symlink("a.png", here / "b.png")
    with pytest.raises(InputError, match=r"would replace the input a\.png"):
        batch.plan(["a.png"], "b.png", overwrite=True)


def test_a_depth_view_may_not_replace_an_image_and_a_name_fits_one_format(here):
    write(here / "in/a.png")
    write(here / "in/a.depth.png")
    with pytest.raises(InputError, match=r"both be written to out/a\.depth\.png"):
        batch.plan(["in"], "out", depth_views=True)
    with pytest.raises(InputError, match="leave out the format"):
        batch.plan(["in/a.png"], "x.png", suffix=".webp")
