"""Names of outputs, and distinct ones for inputs that would share one."""

import pytest

from adadsr import batch
from adadsr.batch import Naming
from adadsr.errors import InputError
from batch_samples import write


def pairs(jobs):
    return {str(job.source): str(job.target) for job in jobs.to_run}


def test_a_suffix_goes_beside_the_input(here):
    write(here / "in/a.png")
    write(here / "in/deep/b.jpg")
    naming = Naming.of_suffix("_x2")
    expected = {"in/a.png": "in/a_x2.png", "in/deep/b.jpg": "in/deep/b_x2.jpg"}
    for inputs in (["in"], ["in/**"], ["in/a.png", "in/deep/b.jpg"]):
        assert pairs(batch.find_jobs(inputs, None, naming=naming)) == expected
    assert pairs(batch.find_jobs(["in/a.png"], "out", naming=naming, suffix=".webp")) == {"in/a.png": "out/a_x2.webp"}


def test_outputs_beside_the_inputs_are_not_enlarged_again(here):
    for name in ("in/a.png", "in/a_x2.png", "in/a_x2_x2.png", "in/lone_x2.png"):
        write(here / name)
    jobs = batch.find_jobs(["in"], None, naming=Naming.of_suffix("_x2"))
    assert [str(job.source) for job in jobs.existing] == ["in/a.png"]
    assert pairs(jobs) == {"in/lone_x2.png": "in/lone_x2_x2.png"}
    assert jobs.left_out.counts() == {"outputs of other inputs": {"": 2}}
    jobs = batch.find_jobs(["in/a_x2.png"], None, naming=Naming.of_suffix("_x2"), overwrite=True)
    assert pairs(jobs) == {"in/a_x2.png": "in/a_x2_x2.png"}  # the user named it


@pytest.mark.parametrize(
    ("first", "second", "naming", "suffix"),
    [
        ("a.jpg", "a.png", Naming(), ".png"),
        ("a.png", "a_x2.png", Naming.of_suffix("_x2"), None),
        ("a.png", "a_x2.depth.png", Naming.of_suffix("_x2"), None),
    ],
)
def test_a_named_input_is_not_overwritten_and_not_left_out_in_silence(here, first, second, naming, suffix):
    for name in (first, second):
        write(here / name)
    jobs = batch.find_jobs([first, second], None, naming=naming, suffix=suffix)
    assert second not in pairs(jobs)
    assert jobs.notes == [f"named like outputs of other inputs and therefore not upscaled: {second}"]
    with pytest.raises(InputError, match=f"would overwrite the input {second}; name only the originals, or"):
        batch.find_jobs([first, second], None, naming=naming, suffix=suffix, depth_views=True, overwrite=True)
    assert pairs(batch.find_jobs([first], None, naming=naming, suffix=suffix, overwrite=True))


@pytest.mark.parametrize("depth_views", [True, False])
@pytest.mark.parametrize("inputs", ["t", "t/*", "t/**", "the shell"])
@pytest.mark.parametrize(
    ("naming", "suffix"),
    [
        *[(Naming.of_suffix("_x2"), suffix) for suffix in (None, ".jpg", ".webp")],
        *[(Naming(), suffix) for suffix in (".jpg", ".webp")],
    ],
)
def test_a_repeated_command_finds_nothing_to_do(here, naming, suffix, inputs, depth_views):
    for name in ("t/a.png", "t/a.tif", "t/b.png", "t/deep/a.png", "t/b.x.png"):
        write(here / name)

    def jobs(depth_views):
        named = sorted(map(str, here.glob("t/**/*.*"))) if inputs == "the shell" else [inputs]
        return batch.find_jobs(named, None, naming=naming, suffix=suffix, depth_views=depth_views)

    first = jobs(depth_views)
    assert len(first.to_run) == 5
    for job in first.to_run:
        for output in job.outputs:
            write(here / output)
    for again in (depth_views, False):
        second = jobs(again)
        assert not second.to_run
        assert {job.source: job.target for job in second.existing} == {job.source: job.target for job in first.to_run}


def test_a_template(here):
    write(here / "in/a.b.png")
    naming = Naming("{stem}_{scale}x{ext}", "2")
    assert pairs(batch.find_jobs(["in"], "out", naming=naming)) == {"in/a.b.png": "out/a.b_2x.png"}
    assert pairs(batch.find_jobs(["in/a.b.png"], None, naming=naming)) == {"in/a.b.png": "in/a.b_2x.png"}
    assert Naming.of_suffix("_{x}").name("a", ".png") == "a_{x}.png"


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{stem}", r"must contain \{stem\} and end with \{ext\}"),
        ("x{ext}", r"must contain \{stem\} and end with \{ext\}"),
        ("{stem}_{width}{ext}", r"\{width\} is unknown; use \{stem\}, \{scale\} and \{ext\}"),
        ("{stem.x}{ext}", "is unknown"),
        ("{stem!r}{ext}", "is unknown"),
        ("{stem:{x}}{ext}", "is unknown"),
        ("{}{ext}", "is unknown"),
        ("{stem{ext}", "--name"),
        ("x/{stem}{ext}", "names a folder; pass it as --output"),
        ("{stem}_{scale}{ext}", "differs between images"),
    ],
)
def test_templates_that_cannot_be(template, message):
    with pytest.raises(InputError, match=message):
        Naming(template)


@pytest.mark.parametrize("suffix", ["", "/x"])
def test_suffixes_that_cannot_be(suffix):
    with pytest.raises(InputError, match="pass text for the end of the name"):
        Naming.of_suffix(suffix)


def test_a_named_output_has_no_pattern(here):
    write(here / "a.png")
    with pytest.raises(InputError, match="drop --name and --suffix"):
        batch.find_jobs(["a.png"], "b.png", naming=Naming.of_suffix("_x2"))
    with pytest.raises(InputError, match=r"would overwrite the input a\.png"):
        batch.find_jobs(["a.png"], None, naming=Naming())


def test_inputs_that_differ_in_suffix_only_keep_it(here):
    for name in ("in/a.png", "in/a.jpg", "in/b.png"):
        write(here / name)
    jobs = batch.find_jobs(["in"], "out", suffix=".webp")
    expected = {"in/a.jpg": "out/a.jpg.webp", "in/a.png": "out/a.png.webp", "in/b.png": "out/b.webp"}
    assert pairs(jobs) == expected
    assert jobs.notes == ["2 outputs would share names and got longer ones, such as out/a.jpg.webp"]
    jobs = batch.find_jobs(["in"], None, suffix=".webp", naming=Naming.of_suffix("_x2"))
    assert pairs(jobs)["in/a.jpg"] == "in/a.jpg_x2.webp"


@pytest.mark.parametrize("system", ["linux", "darwin", "win32"])
def test_names_that_differ_in_case_only(here, monkeypatch, system):
    """On Windows and macOS they are one file: the second output would have been skipped."""
    for name in ("p/a.png", "q/A.png"):
        write(here / name)
    monkeypatch.setattr("sys.platform", system)
    expected = ["out/p/a.png", "out/q/A.png"] if system != "linux" else ["out/a.png", "out/A.png"]
    assert list(pairs(batch.find_jobs(["p", "q"], "out")).values()) == expected


def test_inputs_of_the_same_name_keep_their_folders(here):
    for name in ("p/in/a.png", "q/in/a.png", "q/in/a.jpg", "r/in/b.png"):
        write(here / name)
    assert pairs(batch.find_jobs(["p/in/a.png", "q/in/a.png"], "out")) == {
        "p/in/a.png": "out/p/in/a.png",
        "q/in/a.png": "out/q/in/a.png",
    }
    jobs = batch.find_jobs(["p/in", "q/in", "r/in"], "out", suffix=".webp", depth_views=True)
    assert pairs(jobs) == {
        "p/in/a.png": "out/p/in/a.png.webp",
        "q/in/a.png": "out/q/in/a.png.webp",
        "q/in/a.jpg": "out/q/in/a.jpg.webp",
        "r/in/b.png": "out/b.webp",
    }
    again = batch.find_jobs(["r/in", "q/in", "p/in"], "out", suffix=".webp")
    assert pairs(again) == pairs(jobs)  # whatever the order, so that a repeated command resumes


def test_a_longer_name_is_nobody_elses(here):
    for name in ("in/a.png", "in/a.jpg", "in/a.png.webp"):
        write(here / name)
    jobs = batch.find_jobs(["in"], "out", suffix=".webp")
    assert len(set(pairs(jobs).values())) == 3
    assert pairs(jobs)["in/a.png.webp"] == "out/a.png.webp"
