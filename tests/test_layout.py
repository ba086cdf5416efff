"""The structure of the package: who may import whom, and how long a file may be."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import adadsr
from training_samples import write_photos

SOURCE = Path(adadsr.__file__).parent
RANKS = {
    "errors": 0,
    "geometry": 0,
    "atomic": 0,
    "caches": 0,
    "sparse": 1,
    "images": 1,
    "resize": 1,
    "metrics": 1,
    "tiling": 1,
    "models": 2,
    "losses": 2,
    "depthview": 2,
    "checkpoints": 3,
    "cost": 3,
    "datasets": 3,
    "upscaler": 4,
    "training": 5,
    "evaluation": 5,
    "export": 5,
    "batch": 5,
    "service": 6,
    "cli": 7,
}
"""A module imports only lower ranks, and siblings inside its own package."""
MOST_LINES = 350
INFERENCE = ("upscaler", "batch", "depthview")
TRAINING = {"training", "datasets", "losses"}
ABSENT_WHERE_TRAINING = ("pyvips", "typer", "rich", "matplotlib", "tensorboard", "huggingface_hub")
TINY = Path(__file__).parents[1] / "recipes" / "tiny.yaml"


def files() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


def unit(path: Path) -> str:
    """The module or package right below `adadsr` that a file belongs to; `__init__` for the package's own file."""
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported(path: Path) -> Iterator[tuple[str, int]]:
    """Units of adadsr that a file imports anywhere, also inside functions, with the line."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import; write the whole name"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            parts = name.split(".")
            # Besides its units the package has its version, which anyone may import.
            if parts[0] == "adadsr" and len(parts) > 1 and parts[1] != "__version__":
                yield parts[1], node.lineno


def test_every_unit_has_a_rank():
    assert {unit(path) for path in files()} - {"__init__"} <= set(RANKS)


def test_imports_go_to_lower_ranks():
    wrong = [
        f"{path.relative_to(SOURCE)}:{line} imports {other}"
        for path in files()
        for other, line in imported(path)
        if unit(path) != "__init__" and other != unit(path) and RANKS[other] >= RANKS[unit(path)]
    ]
    assert not wrong


def test_inference_does_not_import_training():
    graph: dict[str, set[str]] = {}
    for path in files():
        graph.setdefault(unit(path), set()).update(other for other, _ in imported(path))
    reached, ahead = set(), list(INFERENCE)
    while ahead:
        name = ahead.pop()
        if name not in reached:
            reached.add(name)
            ahead += graph[name]
    assert not reached & TRAINING


def test_no_file_is_long():
    lengths = {str(path.relative_to(SOURCE)): len(path.read_text(encoding="utf-8").splitlines()) for path in files()}
    assert {name: length for name, length in lengths.items() if length > MOST_LINES} == {}


def test_training_runs_on_a_bare_pytorch_machine(tmp_path):
    photos = str(write_photos(tmp_path / "photos"))
    given = [str(TINY), "--train", photos, "--valid", photos, "--out", f"{tmp_path}/out", "--cache", f"{tmp_path}/lr"]
    code = f"""
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {ABSENT_WHERE_TRAINING} or name == "adadsr.sparse._native":
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
sys.argv += {given}
from adadsr.training.__main__ import main
main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "model.safetensors").exists()
