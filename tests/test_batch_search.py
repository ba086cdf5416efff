"""What patterns and folders contain, and what they leave out."""

import os

import pytest

from adadsr import batch
from adadsr.batch.search import Search
from adadsr.upscaler import Size
from batch_samples import write


def sources(jobs):
    return [str(job.source) for job in jobs.to_run]


def test_links_in_circles_end_and_each_file_is_visited_once(here):
    for name in ("loop/a.png", "loop/x/b.png", "loop/x/y/c.png"):
        write(here / name)
    for link, target in (("loop/self", "."), ("loop/x/up", ".."), ("loop/x/y/top", "../.."), ("loop/again", "x")):
        os.symlink(target, here / link)
    expected = ["loop/a.png", "loop/x/b.png", "loop/x/y/c.png"]
    for pattern in ("loop/**", "loop/**/*", "loop/**/*.png", "loop", "loop/*"):
        assert sources(batch.find_jobs([pattern], "out")) == expected, pattern
    assert sources(batch.find_jobs(["loop/**/c.png"], "out")) == expected[2:]


def test_a_pattern_asks_little_of_each_file(here, monkeypatch):
    """On a network drive each question is a round trip."""
    stat, asked = os.stat, []

    def counted(path, *arguments, **options):
        asked.append(path)
        return stat(path, *arguments, **options)

    monkeypatch.setattr(os, "stat", counted)
    monkeypatch.setattr(os, "lstat", counted)
    counts = []
    for number in (10, 20):
        for index in range(number):
            path = here / f"in/deep/er/{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        asked.clear()
        Search(["in/**/*.png"], here / "in/out")
        counts.append(len(asked))
    assert counts[1] - counts[0] <= 10 * 4


@pytest.mark.parametrize("link", ["in/deep", "in/b.png", "in/here"])
def test_links_into_the_output_folder_are_not_followed(here, link):
    for name in ("in/a.png", "in/out/b.png", "in/out/deep/c.png"):
        write(here / name)
    target = {"in/deep": "out/deep", "in/b.png": "out/b.png", "in/here": "out"}[link]
    os.symlink(target, here / link)
    for pattern in ("in/*", "in/**", "in/**/*.png", "in/*/*.png", "in/*/*/*.png"):
        found = {str(each.source) for each in Search([pattern], here / "in/out").found}
        assert found <= {"in/a.png"}, pattern


def test_links_out_of_the_folder_are_followed_by_patterns_and_named_for_folders(here):
    write(here / "in/a.png")
    write(here / "disk/b.png")
    os.symlink("../disk", here / "in/more")
    assert sources(batch.find_jobs(["in/**"], "out")) == ["in/a.png", "in/more/b.png"]
    assert sources(batch.find_jobs(["in/*"], "out")) == ["in/a.png", "in/more/b.png"]
    jobs = batch.find_jobs(["in"], "out")
    assert (sources(jobs), str(jobs.left_out)) == (["in/a.png"], "1 linked folder")


def test_brackets_are_wildcards_unless_a_folder_has_that_name(here):
    write(here / "album [2020]/a.png")
    write(here / "b1.png")
    assert sources(batch.find_jobs(["album [2020]/*.png"], "out")) == ["album [2020]/a.png"]
    assert sources(batch.find_jobs(["b[12].png"], "out")) == ["b1.png"]
    jobs = batch.find_jobs(["b[3].png", "c*.png"], "out")
    (_, brackets), (_, star) = jobs.failures
    assert brackets.endswith(
        "; brackets are wildcards: [ab] matches a or b; write [[] for a bracket, or check the name"
    )
    assert "brackets" not in star


def test_hidden_files_match_hidden_patterns_only(here):
    for name in ("in/a.png", "in/.b.png", "in/.c/d.png"):
        write(here / name)
    for pattern in ("in/*", "in/**", "in/**/*.png"):
        assert sources(batch.find_jobs([pattern], "out")) == ["in/a.png"]


@pytest.mark.parametrize("address", ["https://example.org/a.png", "http://example.org/a.png?size=2"])
def test_an_address_is_no_file(here, address):
    (failure,) = batch.find_jobs([address], "out").failures
    assert failure[1].startswith(f"{address}: is an address; download it")


def test_what_is_left_out_is_counted_by_kind(here):
    for name in ("in/a.png", "in/._a.png", "in/.cache/b.png", "in/deep/c.png"):
        write(here / name)
    for name in ("b.CR2", "c.cr2", "d.nef", "e.mov", "f.psd", "deep/g.txt", "deep/LICENSE"):
        (here / "in" / name).write_bytes(b"x")
    jobs = batch.find_jobs(["in", "in/deep", "in/*"], "out")
    assert sources(jobs) == ["in/a.png", "in/deep/c.png"]
    assert jobs.left_out.counts() == {
        "camera raw files": {".cr2": 2, ".nef": 1},
        "videos": {".mov": 1},
        "images of other formats": {".psd": 1},
        "other files": {"": 1, ".txt": 1},
        "hidden files and folders": {"": 2},
    }
    assert str(jobs.left_out) == (
        "3 camera raw files (.cr2, .nef), 1 video (.mov), 1 image of other formats (.psd), "
        "2 other files (no suffix, .txt), 2 hidden files and folders"
    )
    assert not str(batch.find_jobs(["in/*.png"], "out").left_out)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every folder; CI runs this")
def test_a_folder_that_cannot_be_read_is_a_failure(here):
    write(here / "in/a.png")
    write(here / "in/closed/b.png")
    (here / "in/closed").chmod(0)
    for inputs in (["in"], ["in/**"], ["in/*/*.png"], ["in/*", "in"]):
        jobs = batch.find_jobs(inputs, "out")
        assert [reason for _, reason in jobs.failures] == [
            "in/closed: cannot be read (Permission denied); check its permissions"
        ]


def test_a_folder_that_no_pattern_can_read_is_a_failure(here, monkeypatch):
    write(here / "in/a.png")
    write(here / "in/closed/b.png")
    listdir, scandir = os.listdir, os.scandir

    def refuse(original):
        def call(path):
            if os.path.basename(path) == "closed":
                raise PermissionError(13, "Permission denied", str(path))
            return original(path)

        return call

    monkeypatch.setattr(os, "listdir", refuse(listdir))
    monkeypatch.setattr(os, "scandir", refuse(scandir))
    for pattern in ("in/**", "in/*/*.png", "in/*", "in"):
        jobs = batch.find_jobs([pattern], "out")
        assert [str(path) for path, _ in jobs.failures] == ["in/closed"], pattern


@pytest.mark.parametrize("inputs", [["in"], ["in/*"], ["in/a.png", "in/[b].png", "in/c.png"]])
def test_broken_links_fail_alone(here, inputs):
    write(here / "in/a.png")
    os.symlink("missing.png", here / "in/[b].png")
    os.symlink("c.png", here / "in/c.png")
    jobs = batch.find_jobs(inputs, "out")
    assert sorted(sources(jobs)) == ["in/[b].png", "in/a.png", "in/c.png"]
    measured, failed = batch.measure(jobs.to_run, Size(scale=2), batch.Options())
    assert [str(job.source) for job, _ in measured] == ["in/a.png"]
    reasons = {str(result.source): result.reason for result in failed}
    assert reasons["in/[b].png"] == "in/[b].png: a link to a missing file; check the link"
    assert reasons["in/c.png"].startswith("in/c.png: cannot open (Too many levels of symbolic links)")
