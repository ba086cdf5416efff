"""Pictures that are uploaded once, and their results: shown, kept within limits, forgotten."""

import concurrent.futures
import threading
import time

import numpy as np
import pytest

from adadsr import images
from adadsr.serving.problems import Problem
from adadsr.serving.queue import Ticket
from serving_samples import Running, photo, running, wait_until


@pytest.fixture(scope="module")
def service():
    with running() as found:
        yield found


def pixels(content: bytes) -> np.ndarray:
    return images.read_image(content).pixels


def test_an_image_is_uploaded_once_and_planned_and_run_often(service: Running):
    kept = service.post("/v1/images?name=a.png", photo())
    assert kept.status == 201
    name = kept.json()["id"]
    for budget in (0.4, 0.6):
        stateless = service.post(f"/v1/plan?budget={budget}", photo()).json()
        stateful = service.post(f"/v1/plan?budget={budget}&image={name}").json()
        for changing in ("seconds", "memory_bytes"):  # the channels of a file are known once it is decoded
            del stateless[changing], stateful[changing]
        assert stateful == stateless
    assert service.get(f"/v1/images/{name}/result").status == 404
    result = service.post(f"/v1/upscale?budget=0.6&image={name}")
    assert result.body == service.post("/v1/upscale?budget=0.6", photo()).body
    assert "a_2x.png" in result.headers["content-disposition"]
    np.testing.assert_array_equal(pixels(service.get(f"/v1/images/{name}/result").body), pixels(result.body))
    np.testing.assert_array_equal(pixels(service.get(f"/v1/images/{name}/picture").body), pixels(photo()))
    assert service.get(f"/v1/images/{name}").json()["state"] == "idle"
    assert service.call("DELETE", f"/v1/images/{name}").status == 204
    assert "upload it again" in service.post(f"/v1/plan?image={name}").detail


def test_a_result_is_shown_whatever_the_limit_on_inputs(service: Running, monkeypatch: pytest.MonkeyPatch):
    read = images.read_image
    name = service.post("/v1/images?name=a.tif", photo(format="tif")).json()["id"]
    result = service.post(f"/v1/upscale?budget=0.5&image={name}")
    monkeypatch.setattr(images, "read_image", lambda content, max_pixels=100: read(content, max_pixels=max_pixels))
    shown = service.get(f"/v1/images/{name}/result")
    np.testing.assert_array_equal(read(shown.body).pixels, read(result.body).pixels)


def test_pictures_for_the_page_wait_for_their_turn(service: Running):
    name = service.post("/v1/images?name=a.tif", photo(format="tif")).json()["id"]
    queue = service.service.queue
    holder = Ticket(queue.memory, queue.cores, lambda share: 0.0)
    queue.running.append(holder)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        shown = pool.submit(service.get, f"/v1/images/{name}/picture")
        wait_until(lambda: bool(queue.waiting))
        assert not shown.done()
        queue.running.remove(holder)
        service.loop.call_soon_threadsafe(queue._start)
        assert shown.result().status == 200


def test_forgetting_a_result_waits_for_no_reader(service: Running, monkeypatch: pytest.MonkeyPatch):
    name = service.post("/v1/images", photo()).json()["id"]
    file = service.post(f"/v1/upscale?budget=0.5&image={name}").body
    result = service.service.kept.find(name).result
    read, reads, may_end = result._file.read, threading.Event(), threading.Event()

    def slow() -> bytes:
        reads.set()
        assert may_end.wait(30)
        return read()

    monkeypatch.setattr(result._file, "read", slow)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        found = pool.submit(result.content)
        assert reads.wait(30)
        try:
            assert service.call("DELETE", f"/v1/images/{name}", timeout=10).status == 204
        finally:
            may_end.set()
        assert found.result() == file
    assert result._file.closed
    with pytest.raises(Problem, match="was forgotten"):
        result.content()


def test_kept_pictures_make_room_and_are_forgotten():
    with running(memory=2**26, kept_for=3) as service:
        names = [service.post("/v1/images", photo(300, 400, seed=index)).json()["id"] for index in range(8)]
        assert service.service.kept.bytes <= service.service.settings.prepared_memory
        assert service.get(f"/v1/images/{names[0]}").status == 404
        assert service.get(f"/v1/images/{names[-1]}").status == 200
        time.sleep(3.1)
        assert service.get(f"/v1/images/{names[-1]}").status == 404


def test_kept_pictures_are_forgotten_though_nobody_calls():
    with running(kept_for=3) as service:
        service.post("/v1/images", photo())
        assert len(service.service.kept) == 1
        wait_until(lambda: not len(service.service.kept), 15)


def test_results_that_are_kept_stay_within_a_limit():
    with running() as service:
        store = service.service.kept
        names = [service.post("/v1/images", photo(seed=index)).json()["id"] for index in range(4)]
        sizes = [len(service.post(f"/v1/upscale?budget=0.4&image={name}").body) for name in names[:3]]
        assert store.result_bytes == sum(sizes)
        store.limit = sum(sizes)
        service.post(f"/v1/upscale?budget=0.4&image={names[3]}")
        assert store.result_bytes <= store.limit
        assert [service.get(f"/v1/images/{name}/result").status for name in names] == [404, 200, 200, 200]
        store.limit = 0
        service.post(f"/v1/upscale?budget=0.4&image={names[1]}")
        assert [service.get(f"/v1/images/{name}/result").status for name in names] == [404, 200, 404, 404]
