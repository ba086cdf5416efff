"""What is deployed beside the service fits it."""

import json
import re
from pathlib import Path

import pytest
import yaml

pytest.importorskip("fastapi", reason="needs the extra `serve`; .ci/run installs it")

from adadsr.cli.options import parse_bytes
from adadsr.serving.metrics import Metrics

ROOT = Path(__file__).parents[1]


def test_the_board_shows_metrics_that_exist():
    text = (ROOT / "deploy" / "board.json").read_text(encoding="utf-8")
    shown = set(
        re.findall(r"adadsr_\w+", " ".join(each["expr"] for p in json.loads(text)["panels"] for each in p["targets"]))
    )
    metrics = Metrics()
    metrics.requests.labels("/", "200").observe(1)
    metrics.stages.labels("run").observe(1)
    metrics.refusals.labels("overloaded").inc()
    known = set(re.findall(r"^(adadsr_\w+)", metrics.text().decode(), re.MULTILINE))
    assert shown <= known
    assert len(shown) > 8


def test_the_compose_file_names_files_that_exist():
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
    adadsr = compose["services"]["adadsr"]
    assert adadsr["read_only"] is True
    memory = adadsr["command"][adadsr["command"].index("--memory") + 1]
    (temporary,) = adadsr["tmpfs"]
    parts = map(parse_bytes, (memory, temporary.removeprefix("/tmp:size=")))
    assert sum(parts) + 2**30 <= parse_bytes(adadsr["mem_limit"])
    for service in compose["services"].values():
        for volume in service.get("volumes", ()):
            path = ROOT / volume.partition(":")[0]
            assert path.exists(), volume
            if path.suffix == ".yaml":
                assert yaml.safe_load(path.read_text(encoding="utf-8"))


def test_the_image_runs_as_a_user_without_rights_and_has_a_health_check():
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert re.search(r"^USER [1-9]\d*$", lines, re.MULTILINE)
    assert "HEALTHCHECK" in lines
    assert "torch" not in re.sub(r"^#.*$", "", lines, flags=re.MULTILINE)


def test_the_space_is_python():
    compile((ROOT / "space" / "app.py").read_text(encoding="utf-8"), "app.py", "exec")
