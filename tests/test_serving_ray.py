"""The service on Ray Serve."""

import os
import sys
import urllib.error
import urllib.request
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from pydantic import ValidationError

pytest.importorskip("ray.serve", reason="needs the extra `cluster`; .ci/run installs it")

import ray
from ray import serve

from adadsr import images
from adadsr.serving.ray import QUEUED, SECONDS_EACH, Given, app, replicas_for
from serving_samples import photo

ROOT = Path(__file__).parents[1]
KEY = "a-key-of-some-length"


def test_replicas_follow_the_seconds_that_wait():
    def wanted(*queued: float) -> int:
        context = SimpleNamespace(
            aggregated_metrics={QUEUED: dict(enumerate(queued))},
            capacity_adjusted_min_replicas=1,
            capacity_adjusted_max_replicas=5,
        )
        return replicas_for(context)[0]

    assert wanted() == wanted(0.0) == wanted(SECONDS_EACH) == 1
    assert wanted(SECONDS_EACH, SECONDS_EACH) == 2
    assert wanted(3 * SECONDS_EACH, 0.1) == 4
    assert wanted(1e9) == 5


def test_the_yaml_fits_the_application():
    (application,) = yaml.safe_load((ROOT / "deploy/ray-serve.yaml").read_text())["applications"]
    assert application["import_path"] == "adadsr.serving.ray:app"
    assert Given(**application["args"]).settings().threads == application["args"]["cores"]
    with pytest.raises(ValidationError, match="coers"):
        Given(coers=2)
    assert not Given().settings().is_loopback  # clients call the cluster by any name
    assert Given(models="one,two").settings().models == Given(models=("one", "two")).settings().models


def called(path: str, body: bytes | None = None, **headers: str):
    """Answer of a service below a prefix, on a cluster with a name."""
    address = f"http://127.0.0.1:18123/pictures{path}"
    return urllib.request.urlopen(urllib.request.Request(address, body, {"Host": "head-node:18123", **headers}))


def test_a_replica_has_the_same_api(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("ADADSR_API_KEYS", KEY)
    ray.init("local", num_cpus=2, object_store_memory=80 * 2**20, include_dashboard=False, log_to_driver=False)
    try:
        serve.start(http_options={"port": 18123})
        serve.run(app(Given()), name="adadsr", route_prefix="/pictures")
        with called("/readyz") as answer:
            assert answer.status == 200
        with pytest.raises(urllib.error.HTTPError, match="401"):
            called("/v1/models")
        with called("/v1/upscale?budget=0.5", photo(24, 20), Authorization=f"Bearer {KEY}") as answer:
            assert images.read_size(answer.read()) == (48, 40)
            assert float(answer.headers["AdaDSR-Served-Budget"]) == pytest.approx(0.5, abs=0.02)
    finally:
        serve.shutdown()
        ray.shutdown()
