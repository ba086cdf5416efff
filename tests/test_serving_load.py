"""The load tests of benchmarks/serve_load.py in short: what must hold on any machine, however busy."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

pytest.importorskip("fastapi", reason="needs the extra `serve`; .ci/run installs it")


@pytest.fixture(scope="module")
def load() -> ModuleType:
    path = Path(__file__).parents[1] / "benchmarks" / "serve_load.py"
    spec = importlib.util.spec_from_file_location("serve_load", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_many_clients_get_no_error(load: ModuleType):
    found = load.clients(1, 16, 2.0)
    assert set(found["statuses"]) == {"200"}


def test_memory_is_flat(load: ModuleType):
    assert load.memory(1, 80)["growth"] < 0.15  # 0.05 over 2,000 requests: the benchmark


def test_overload_lowers_budgets_and_refuses_with_503_only(load: ModuleType):
    found = load.overload(1, 4.0)
    assert set(found["statuses"]) == {"200", "503"}
    assert found["served_budget_median"] < 0.75
