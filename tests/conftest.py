"""Fixtures shared by the tests: folders that lie beside the repository, not in it."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import settings

# Read where triton's kernels are defined: without a device they are interpreted.
if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")

# Pictures of tests are small: torch's threads would mostly wait for each other, on a busy machine for minutes.
torch.set_num_threads(1)

# A shared machine is slow at times; what matters is that the laws hold.
settings.register_profile("adadsr", deadline=None)
settings.load_profile("adadsr")

SHARED = Path(__file__).resolve().parents[2] / "shared"


def _folder(variable: str, default: Path) -> Path:
    """The folder that an environment variable names; if it is missing, tests skip, or fail where required."""
    folder = Path(os.environ.get(variable, default))
    if not folder.is_dir():
        missing = f"{folder} is not there; set {variable} to the folder"
        if os.environ.get("ADADSR_REQUIRE_SHARED") == "1":
            pytest.fail(missing)
        pytest.skip(missing)
    return folder


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Photos for tests and evaluation: `eval/Set5/HR` and so on."""
    return _folder("ADADSR_DATA_DIR", SHARED / "data")


@pytest.fixture(scope="session")
def cases_dir() -> Path:
    """Image files that other upscalers got wrong, with a README of what is right."""
    return _folder("ADADSR_CASES_DIR", SHARED / "cases")


@pytest.fixture(scope="session")
def golden_dir() -> Path:
    """Small networks with the outputs that the original implementation gave for them."""
    return _folder("ADADSR_GOLDEN_DIR", SHARED / "golden")


@pytest.fixture(scope="session", autouse=True)
def own_cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What was measured on this machine decides no test, and no test writes into the user's caches."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ADADSR_CACHE_DIR", str(tmp_path_factory.mktemp("caches")))
        yield


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder, and terminals of one width, for help texts."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    return tmp_path
