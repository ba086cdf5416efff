"""Folders and buckets behave alike, and what fails now and then is tried again."""

import os
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from adadsr.atomic import HIDDEN
from adadsr.errors import InputError, StorageError
from adadsr.storage import LocalPlace, ObjectPlace, Place, fetched, fetching, objects, open_place

pytest.importorskip("s3fs", reason="needs the extra `cluster`; .ci/run installs it")
pytest.importorskip("moto.server", reason="needs moto; .ci/run installs it")

from s3_samples import ACCESS, Faults, serving


@pytest.fixture(scope="module")
def server() -> Iterator[Faults]:
    with serving() as (address, faults), pytest.MonkeyPatch.context() as patch:
        for name, value in {**ACCESS, "AWS_ENDPOINT_URL": address}.items():
            patch.setenv(name, value)
        import fsspec

        fsspec.filesystem("s3").makedirs("bucket", exist_ok=True)
        yield faults


EMULATORS = {"gs": ("gcsfs", "STORAGE_EMULATOR_HOST"), "az": ("adlfs", "AZURE_STORAGE_CONNECTION_STRING")}
"""Other stores: their libraries, and the variables that tell where one runs, with a bucket `bucket`. No CI has one."""


@pytest.fixture(params=["folder", "memory", "s3", "gs", "az"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param in EMULATORS:
        library, variable = EMULATORS[request.param]
        pytest.importorskip(library, reason=f"needs {library} and an emulator at {variable}; run by hand")
        if variable not in os.environ:
            pytest.skip(f"needs an emulator at {variable}; run by hand")
        return open_place(f"{request.param}://bucket/{uuid.uuid4().hex}")
    if request.param == "folder":
        return open_place(str(tmp_path / "new"))
    if request.param == "memory":
        return open_place(f"memory://{uuid.uuid4().hex}/below")
    request.getfixturevalue("server")
    return open_place(f"s3://bucket/{uuid.uuid4().hex}")


def test_what_is_written_is_there(place: Place) -> None:
    assert list(place.files()) == []
    assert place.find("a/b.bin") is None
    assert place.read("a/b.bin") is None
    place.replace("a/b.bin", b"one")
    place.replace("c.bin", b"three")
    assert place.read("a/b.bin") == b"one"
    assert place.read("a/b.bin", 3) == b"one"
    assert sorted((file.name, file.size) for file in place.files()) == [("a/b.bin", 3), ("c.bin", 5)]
    assert [file.name for file in place.files("a")] == ["a/b.bin"]
    before = place.find("a/b.bin")
    assert before is not None
    place.replace("a/b.bin", b"other")
    after = place.find("a/b.bin")
    assert after is not None
    assert after.size == 5
    place.remove("a/b.bin")
    place.remove("a/b.bin")
    assert [file.name for file in place.files()] == ["c.bin"]
    assert place.join("c.bin").startswith(place.address)


@pytest.mark.parametrize("name", ["../a", "a/../../b", "/a", ".."])
def test_no_name_leads_out_of_a_folder(tmp_path: Path, name: str) -> None:
    place = LocalPlace(str(tmp_path / "in"))
    for use in (place.find, place.read, place.remove, place.join, lambda name: list(place.files(name))):
        with pytest.raises(StorageError, match="not a name below this folder"):
            use(name)
    for write in (place.create, place.replace):
        with pytest.raises(StorageError, match="not a name below this folder"):
            write(name, b"x")
    assert list(tmp_path.rglob("*")) == []


def test_of_several_that_create_a_file_one_succeeds(place: Place) -> None:
    start, won = threading.Barrier(4), []

    def create(number: int) -> None:
        start.wait()
        if place.create("x/lease", str(number).encode()):
            won.append(number)

    threads = [threading.Thread(target=create, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) >= 1
    if not isinstance(place, ObjectPlace) or place.scheme != "memory":  # fsspec's memory is no store for several
        assert len(won) == 1
        assert place.read("x/lease") == str(won[0]).encode()
    assert not place.create("x/lease", b"late")


def test_faults_of_a_store_pass(server: Faults, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "FIRST_WAIT", 0.01)
    place = open_place(f"s3://bucket/{uuid.uuid4().hex}")
    content = os.urandom(20_000)
    before, server.every = server.counts["faults"], 3
    try:
        for number in range(6):
            place.replace(f"{number}.bin", content)
            assert place.read(f"{number}.bin", len(content)) == content
        assert len(list(place.files())) == 6
    finally:
        server.every = 0
    assert server.counts["faults"] - before >= 5


def test_a_short_file_is_no_file(server: Faults, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(objects, "FIRST_WAIT", 0.001)
    for address in (f"s3://bucket/{uuid.uuid4().hex}", str(tmp_path)):
        place = open_place(address)
        place.replace("a.bin", b"short")
        with pytest.raises(StorageError, match=r"5 bytes .*instead of 9"):
            place.read("a.bin", 9)


def test_refusals_say_what_to_do(server: Faults, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "FIRST_WAIT", 0.001)
    with pytest.raises(StorageError, match=r"s3://nowhere-such-bucket/a: cannot write .*check the name of the bucket"):
        open_place("s3://nowhere-such-bucket").replace("a", b"x")
    with pytest.raises(InputError, match=r"ftp://host/x: unknown scheme; use a folder or one of s3://, gs://"):
        open_place("ftp://host/x")
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match="cannot write"):
        LocalPlace(str(tmp_path / "file")).replace("a", b"x")


def test_wrong_credentials_are_said_at_once(server: Faults, monkeypatch: pytest.MonkeyPatch) -> None:
    class Forbidden:
        def _strip_protocol(self, address: str) -> str:
            return address

        def find(self, *arguments: object, **options: object) -> None:
            raise PermissionError("The AWS Access Key Id you provided does not exist in our records.")

    place = ObjectPlace("s3://bucket/x")
    monkeypatch.setattr(ObjectPlace, "_system", Forbidden())
    with pytest.raises(
        StorageError, match=r"s3://bucket/x: cannot list \(The AWS Access Key Id .*check address and cred"
    ):
        list(place.files())


class Refused(Exception):
    """As adlfs and gcsfs tell statuses."""

    def __init__(self, status: int) -> None:
        super().__init__("Refused.\nRequestId: 1")
        self.status_code = status


class Failing:
    """A store whose every request fails. calls: how many there were."""

    def __init__(self, error: Exception) -> None:
        self.error, self.calls = error, 0

    def _strip_protocol(self, address: str) -> str:
        return address

    def _fail(self, *arguments: object, **options: object) -> None:
        self.calls += 1
        raise self.error

    find = info = pipe_file = _fail


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[[Exception], tuple[ObjectPlace, Failing]]:
    monkeypatch.setattr(objects, "FIRST_WAIT", 0.0)

    def make(error: Exception) -> tuple[ObjectPlace, Failing]:
        store = Failing(error)
        monkeypatch.setattr(ObjectPlace, "_system", store)
        return ObjectPlace("az://box/x"), store

    return make


@pytest.mark.parametrize(("status", "calls"), [(403, 1), (401, 1), (400, 1), (429, 6), (503, 6)])
def test_a_status_tells_whether_to_try_again(failing, status: int, calls: int) -> None:
    place, store = failing(Refused(status))
    with pytest.raises(
        StorageError, match=r"az://box/x: cannot list \(Refused\); .*AZURE_STORAGE_CONNECTION_STRING, or"
    ):
        list(place.files())
    assert store.calls == calls


def test_a_missing_object_is_none_and_a_missing_bucket_is_named(failing) -> None:
    place, store = failing(Refused(404))
    assert place.find("a") is None
    with pytest.raises(StorageError, match=r"az://box/x/a: cannot write \(no such bucket\); check the name"):
        place.replace("a", b"x")
    assert store.calls == 2


def test_a_library_that_tries_again_by_itself_is_not_asked_for_minutes(failing, monkeypatch) -> None:
    now = [0.0]
    monkeypatch.setattr(objects.time, "monotonic", lambda: now[0])
    place, store = failing(ConnectionError("no answer"))

    def fail(*arguments: object, **options: object) -> None:
        now[0] += 20
        store._fail()

    store.find = fail
    with pytest.raises(StorageError, match="no answer"):
        list(place.files())
    assert store.calls == 2


def test_a_library_that_asks_for_credentials_when_it_is_opened(monkeypatch) -> None:
    import fsspec

    def fail(*arguments: object, **options: object) -> None:
        raise ValueError("Must provide credentials!!")

    monkeypatch.setattr(fsspec, "filesystem", fail)
    with pytest.raises(StorageError, match=r"az://box: cannot open \(Must provide credentials!!\); check .*AZURE"):
        list(ObjectPlace("az://box").files())


def test_what_dead_processes_left_is_removed(tmp_path: Path) -> None:
    place = open_place(str(tmp_path))
    place.replace("a/b.png", b"x")
    (tmp_path / "a" / f"{HIDDEN}0.tmp").write_bytes(b"half")
    place.tidy()
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b.png"]


def test_a_prefix_becomes_a_folder_once(server: Faults, tmp_path: Path) -> None:
    address = f"s3://bucket/{uuid.uuid4().hex}"
    for name in ("a.png", "b/c.png"):
        open_place(address).replace(name, name.encode())
    folder = fetched(address, tmp_path)
    assert (folder / "b/c.png").read_bytes() == b"b/c.png"
    before = server.counts["objects"]
    assert fetched(address, tmp_path) == folder
    assert server.counts["objects"] == before
    open_place(address).replace("a.png", b"other")  # of the same size
    open_place(address).remove("b/c.png")
    fetched(address, tmp_path)
    assert {path.name: path.read_bytes() for path in folder.rglob("*.png")} == {"a.png": b"other"}
    assert fetched("photos", tmp_path) == Path("photos")
    with pytest.raises(StorageError, match="no files here"):
        fetched("s3://bucket/empty", tmp_path)


def test_a_read_that_fails_costs_only_what_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address = f"memory://{uuid.uuid4().hex}"
    place, names = open_place(address), [f"{number:03}.png" for number in range(100)]
    for name in names:
        place.replace(name, b"x")
    fetched(address, tmp_path)
    place.replace(names[0], b"other")
    read, asked = ObjectPlace.read, []

    def fail(self: ObjectPlace, name: str, size: int = 0) -> bytes | None:
        asked.append(name)
        if len(asked) == 1:
            raise StorageError("no answer")
        return read(self, name, size)

    monkeypatch.setattr(ObjectPlace, "read", fail)
    monkeypatch.setattr(fetching, "_READERS", 1)
    with pytest.raises(StorageError, match="no answer"):
        fetched(address, tmp_path)
    assert (fetched(address, tmp_path) / names[0]).read_bytes() == b"other"
    assert asked == [names[0]] * 2
