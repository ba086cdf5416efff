"""What SRC names: the inputs of a collection, and what cannot be one."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("pyarrow", reason="needs the extra `cluster`; .ci/run installs it")

import pyarrow as pa
import pyarrow.parquet as pq

from adadsr.cluster import sources
from adadsr.cluster.ledger import FOLDER
from adadsr.errors import InputError, StorageError
from adadsr.storage import open_place
from cluster_samples import write_pictures


def test_a_folder_gives_what_upscale_would(here):
    write_pictures(here / "in", 5)
    (here / "in" / "notes.txt").write_text("x")
    (here / "in" / ".hidden.png").write_bytes(b"x")
    found = sources.find("in", "out")
    assert len(found.entries) == 8
    assert all(each.size == os.path.getsize(each.address) for each in found.entries)
    assert "1 other file (.txt), 1 hidden file" in str(found.left_out)


def test_a_link_that_leads_nowhere_is_an_input_that_will_fail(here):
    write_pictures(here / "in", 1, bad=False)
    os.symlink("missing.png", here / "in/broken.png")
    os.symlink("circle.png", here / "in/circle.png")
    found = {os.path.basename(each.address): each.size for each in sources.find("in", "out").entries}
    assert (found.pop("broken.png"), found.pop("circle.png")) == (0, 0)
    assert all(found.values())


def test_a_list_names_each_once_below_their_common_folder(here):
    write_pictures(here / "a/b", 4, bad=False)
    names = [f"a/b/{path.relative_to(here / 'a/b')}" for path in sorted((here / "a/b").rglob("*.*"))]
    (here / "list.txt").write_text("\n".join([*names, "", names[0], f"./{names[1]}"]))
    (here / "list.csv").write_text("id,source\n" + "\n".join(f"{at},{name}" for at, name in enumerate(names)))
    pq.write_table(pa.table({"url": names, "id": list(range(4))}), here / "list.parquet")
    for suffix in (".txt", ".csv", ".parquet"):
        found = sources.find(f"list{suffix}", "out")
        assert [each.address for each in found.entries] == names
        assert str(found.entries[0].found.below) in ("d0/000.png", "000.png")
        assert found.notes == (["list.txt: left out 2 that are listed twice"] if suffix == ".txt" else [])


@given(st.lists(st.text("a./", max_size=8), max_size=4), st.sampled_from(["memory://x/", "/none/", ""]))
def test_no_address_of_a_list_leads_out_of_the_destination(names, parent):
    lists = open_place("memory://lists")
    lists.replace("list.txt", "\n".join(f"{parent}{name}.png" for name in [*names, "one"]).encode())
    found = sources.find("memory://lists/list.txt", "out")
    assert len(found.entries) + len(found.failures) <= len(names) + 1
    for below in (each.found.below for each in found.entries):
        assert not below.is_absolute()
        assert ".." not in below.parts


def test_relative_addresses_of_a_list_may_lead_up(here, monkeypatch):
    write_pictures(here / "a", 1, bad=False)
    write_pictures(here / "b", 1, bad=False)
    (here / "b/list.txt").write_text("../a/d0/000.png\nd0/000.png")
    monkeypatch.chdir(here / "b")
    found = sources.find("list.txt", "out")
    assert [str(each.found.below) for each in found.entries] == ["a/d0/000.png", "b/d0/000.png"]
    assert all(each.size for each in found.entries)


def test_a_bad_address_is_a_failure_of_its_own(here):
    (here / "list.txt").write_text("memory://x/a/1.png\nhttps://x/2.png\nmemory://x/a/../3.png\n..\nnone\0.png")
    found = sources.find("list.txt", "out")
    assert [each.address for each in found.entries if "x" in each.address] == ["memory://x/a/1.png"]
    assert [str(path) for path, _ in found.failures] == ["https:/x/2.png", "memory:/x/a/../3.png"]
    assert "https://x/2.png: unknown scheme" in found.failures[0][1]
    assert "memory://x/a/../3.png: has a folder named" in found.failures[1][1]


def test_an_object_that_no_path_can_name_is_a_failure_of_its_own():
    place = open_place("memory://strange/photos")
    for name in ("1.png", "/2.png", "a//3.png"):
        place.replace(name, b"x")
    found = sources.find("memory://strange/photos", "out")
    assert [each.address for each in found.entries] == ["memory://strange/photos/1.png"]
    assert len(found.failures) == 2


def test_what_a_run_keeps_for_itself_is_no_input(here):
    write_pictures(here / "in", 1, bad=False)
    (here / "in" / FOLDER).mkdir()
    (here / "in" / FOLDER / "report.png").write_bytes(b"x")
    place = open_place("memory://kept")
    for name in ("a.png", f"{FOLDER}/report.png"):
        place.replace(name, b"x")
    for source in ("in", "memory://kept"):
        found = sources.find(source, "out")
        assert len(found.entries) == 1
        assert str(found.left_out) == "1 other file (.png)"


def test_wrong_lists_and_empty_folders_are_refused(here):
    (here / "empty").mkdir()
    (here / "a.csv").write_text("one,two\n1,2\n")
    (here / "b.parquet").write_bytes(b"no parquet")
    for source, said in {
        "empty": "no images in this folder",
        "none": "none: no such folder or file; check the path",
        "a.csv": "columns one, two; name the one of addresses source",
        "b.parquet": "not a list",
    }.items():
        with pytest.raises(InputError, match=said):
            sources.find(source, "out")
    with pytest.raises(StorageError, match="no such list"):
        sources.find("none.txt", "out")
