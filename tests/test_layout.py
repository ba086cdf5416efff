"""The structure of the package: who may import whom, where torch may be, and how long a file may be."""

import ast
import importlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

import adadsr
from training_samples import write_photos

SOURCE = Path(adadsr.__file__).parent
RANKS = {
    "errors": -1,
    "geometry": 0,
    "atomic": 0,
    "bit_depth": 0,
    "forks": 0,
    "machine": 0,
    "formats": 0,
    "graph": 1,
    "images": 1,
    "resize": 1,
    "degradation": 1,
    "metrics": 1,
    "storage": 1,
    "tiling": 1,
    "tensor_ops": 1,
    "backends": 2,
    "networks": 2,
    "losses": 2,
    "depthview": 2,
    "checkpoints": 3,
    "datasets": 3,
    "upscaler": 4,
    "training": 5,
    "evaluation": 5,
    "batch": 5,
    "export": 5,
    "adaptation": 6,
    "remote": 6,
    "cluster": 6,
    "serving": 6,
    "cli": 7,
}
"""A module imports only lower ranks, and siblings inside its own package."""
LAZY = {("adadsr", "adadsr.upscaler"), ("adadsr.cli", "adadsr.cli.app")}
"""What a package gives by name but imports on first use only; everything else may form no circle."""
WITH_TORCH = (
    "backends.portable",
    "backends.gpu",
    "networks.module",
    "networks.depth_maps",
    "tensor_ops",
    "training",
    "adaptation",
    "losses",
    "datasets",
)
"""Modules, and packages with all that is in them, that need torch."""
TORCH_IN_FUNCTIONS = {
    "adadsr.backends",  # prepares engines in torch, and asks torch for its devices
    "adadsr.checkpoints.tensors",  # reads the pickles of published checkpoints
    "adadsr.upscaler.sources",  # gives a tensor back where one was given
}
"""Modules that use torch where it is there."""
MOST_LINES = 320
INFERENCE = ("upscaler", "batch", "depthview", "serving")
TRAINING = {"training", "adaptation", "datasets", "losses"}
ABSENT_WHERE_TRAINING = ("pyvips", "typer", "rich", "matplotlib", "tensorboard", "huggingface_hub")
TINY = Path(__file__).parents[1] / "recipes" / "tiny.yaml"


class Import(NamedTuple):
    """One imported name, dotted. module: where it is. runs: whether the import is executed, not for types only."""

    name: str
    module: str
    line: int
    in_function: bool
    runs: bool


@cache
def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name."""
    found = {}
    for path in sorted(SOURCE.rglob("*.py")):
        parts = ("adadsr", *path.relative_to(SOURCE).with_suffix("").parts)
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def package_of(module: str) -> str:
    """The package that a module is in; a package is in itself."""
    return module if modules()[module].name == "__init__.py" else module.rpartition(".")[0]


def unit(module: str) -> str:
    """The module or package right below `adadsr`; the package's own file has an empty name."""
    return module.partition(".")[2].partition(".")[0]


def imports(module: str) -> Iterator[Import]:
    """All imports of a module, also inside functions."""
    tree = ast.parse(modules()[module].read_text(encoding="utf-8"))
    yield from _imports(tree, in_function=False, runs=True)


def _imports(parent: ast.AST, *, in_function: bool, runs: bool) -> Iterator[Import]:
    for node in ast.iter_child_nodes(parent):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, alias.name, node.lineno, in_function, runs)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative import; write the whole name"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield Import(whole, whole if whole in modules() else str(node.module), node.lineno, in_function, runs)
        else:
            inside = in_function or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            for_types = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
            yield from _imports(node, in_function=inside, runs=runs and not for_types)


def ours(module: str) -> Iterator[Import]:
    """The imports of a module from this package."""
    return (each for each in imports(module) if each.module.split(".")[0] == "adadsr")


def test_every_unit_has_a_rank():
    assert {unit(module) for module in modules()} - {""} == set(RANKS)


def test_imports_go_to_lower_ranks():
    wrong = [
        f"{module}:{each.line} imports {each.module}"
        for module in modules()
        for each in ours(module)
        # Besides its units the package has its version, which anyone may import.
        if unit(module) and unit(each.module) not in ("", unit(module))
        if RANKS[unit(each.module)] >= RANKS[unit(module)]
    ]
    assert not wrong


def test_no_modules_import_each_other_in_a_circle():
    """Imports inside functions included: a circle that is only late is still one."""
    ahead = {
        module: {each.module for each in ours(module) if each.runs and each.module in modules()} - {module}
        for module in modules()
    }
    for module, other in LAZY:
        ahead[module].remove(other)
    while leaves := [module for module, others in ahead.items() if not others & ahead.keys()]:
        for module in leaves:
            del ahead[module]
    assert not ahead, "each of these imports another of them"


def may_use_torch(module: str) -> bool:
    return any(f"{module}.".startswith(f"adadsr.{name}.") for name in WITH_TORCH)


def torch_imports(module: str) -> list[Import]:
    return [each for each in imports(module) if each.module.split(".")[0] in ("torch", "triton")]


def test_torch_is_imported_where_it_may_be():
    wrong = [
        f"{module}:{each.line}"
        for module in modules()
        if not may_use_torch(module)
        for each in torch_imports(module)
        if not each.in_function
    ]
    assert not wrong
    guarded = {module for module in modules() if not may_use_torch(module) and torch_imports(module)}
    assert guarded == TORCH_IN_FUNCTIONS


def test_what_needs_torch_is_imported_late_by_what_does_not():
    wrong = [
        f"{module}:{each.line} imports {each.module}"
        for module in modules()
        if not may_use_torch(module)
        for each in ours(module)
        # A package may be asked what is missing; its engine may not be there.
        if each.runs and not each.in_function and may_use_torch(each.module)
    ]
    assert not wrong


def test_ray_and_its_libraries_are_imported_where_they_may_be():
    at_top = {
        name: {
            module
            for module in modules()
            for each in imports(module)
            if each.module.split(".")[0] == name and each.runs and not each.in_function
        }
        for name in ("ray", "fsspec", "pyarrow")
    }
    assert at_top["ray"] == {"adadsr.serving.ray"}
    assert at_top["fsspec"] == set()
    assert {unit(module) for module in at_top["pyarrow"]} == {"cluster"}


def test_inference_does_not_import_training():
    graph: dict[str, set[str]] = {}
    for module in modules():
        graph.setdefault(unit(module), set()).update(unit(each.module) for each in ours(module))
    reached, ahead = set(), list(INFERENCE)
    while ahead:
        name = ahead.pop()
        if name and name not in reached:
            reached.add(name)
            ahead += graph[name]
    assert not reached & TRAINING


def test_no_file_is_long():
    lengths = {module: len(path.read_text(encoding="utf-8").splitlines()) for module, path in modules().items()}
    assert {module: length for module, length in lengths.items() if length > MOST_LINES} == {}


def test_every_module_says_what_it_is():
    silent = [module for module, path in modules().items() if not ast.get_docstring(ast.parse(path.read_text("utf-8")))]
    assert not silent


def test_what_is_private_is_imported_in_its_own_package_only():
    wrong = [
        f"{module}:{each.line} imports {each.name}"
        for module in modules()
        for each in ours(module)
        if (private := re.match(r"(.+?)\._(?!_)", each.name))
        if not f"{module}.".startswith(f"{package_of(private[1])}.")
    ]
    assert not wrong


@pytest.mark.parametrize("package", sorted({package_of(f"adadsr.{name}") for name in RANKS}))
def test_what_a_package_calls_public_is_there(package):
    public = importlib.import_module(package).__all__
    assert sorted(set(public)) == sorted(public)
    for name in public:
        assert hasattr(sys.modules[package], name), f"{package}.{name}"


def test_training_runs_on_a_bare_pytorch_machine(tmp_path):
    photos = str(write_photos(tmp_path / "photos"))
    given = [str(TINY), "--train", photos, "--valid", photos, "--out", f"{tmp_path}/out", "--cache", f"{tmp_path}/lr"]
    code = f"""
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {ABSENT_WHERE_TRAINING} or name == "adadsr.backends.native._native":
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
sys.argv += {given}
from adadsr.training.__main__ import main
main()
"""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}  # threads would wait for each other on a busy machine
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "model.safetensors").exists()
