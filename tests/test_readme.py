"""The documents are true: commands parse, Python runs, links resolve, and what they name exists."""

import ast
import importlib
import inspect
import re
import shlex
from collections.abc import Iterator
from functools import cache
from itertools import takewhile
from pathlib import Path

import pytest
import typer.main

from adadsr import images
from adadsr.backends import Engine
from adadsr.cli.app import app
from image_samples import smooth
from test_layout import RANKS, TORCH_IN_FUNCTIONS, WITH_TORCH

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "adadsr"
GUIDES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
HISTORY = [ROOT / "CHANGELOG.md", *sorted((ROOT / "dev").glob("*.md"))]
PAGES = [*GUIDES, *HISTORY, ROOT / "assets" / "README.md", *sorted(SOURCE.rglob("*.md"))]
MOST_COLUMNS = 100
LEAST_LETTERS = 12
"""A message of the code with fewer fixed letters would match anything."""
FILE_SUFFIXES = (".json", ".jsonl")
"""Of names that look like those of modules."""


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def shell_lines() -> Iterator[tuple[str, str]]:
    """Page and command of every line of the shell blocks, without comments."""
    for page in GUIDES:
        for block in blocks(page, "sh"):
            for line in block.replace("\\\n", " ").splitlines():
                yield name_of(page), shlex.join(shlex.split(line, comments=True))


COMMANDS = sorted({line for _, line in shell_lines() if line.startswith("adadsr ")})


@pytest.mark.parametrize("line", COMMANDS)
def test_commands_parse(line: str) -> None:
    group = typer.main.get_command(app)
    name, *arguments = shlex.split(line)[1:]
    context = group.make_context("adadsr", [name, *arguments])
    command = group.get_command(context, name)
    assert command is not None, f"no command {name}"
    command.make_context(name, arguments, parent=context)


@pytest.mark.parametrize("page", ["README.md", "docs/guide.md"])
def test_python_runs(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    images.write_image("photo.jpg", images.picture_from_array(smooth(48, 64)))
    shared: dict[str, object] = {}
    for block in blocks(ROOT / page, "python"):
        exec(compile(block, page, "exec"), shared)
    assert images.read_size("large.png") == (96, 128)


@pytest.mark.parametrize("page", [*PAGES, *sorted((ROOT / "native").glob("*.md"))], ids=name_of)
def test_links_resolve(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", page.read_text(encoding="utf-8")):
        path, _, anchor = target.partition("#")
        linked = page.parent / path if path else page
        assert linked.exists(), target
        assert not anchor or anchor in anchors(linked), target


def anchors(page: Path) -> set[str]:
    """What a link to a heading of a page can end in, as GitHub makes it of the heading."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_prose_fits_a_line(page: Path) -> None:
    lines = page.read_text(encoding="utf-8").splitlines()
    prose = lines if page == ROOT / "README.md" else [line for line in lines if not line.startswith("|")]
    assert [line for line in prose if len(line) > MOST_COLUMNS] == []


def test_every_package_has_a_line_in_the_architecture() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| (-?\d) \| `(\w+)` \|", text, re.MULTILINE)
    assert [(name, int(rank)) for rank, name in listed] == list(RANKS.items())


def test_the_architecture_says_where_torch_is_imported() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    for where, modules in (("at the top", WITH_TORCH), ("inside functions", TORCH_IN_FUNCTIONS)):
        (row,) = re.findall(rf"^\| {where} \| (.+) \|$", text, re.MULTILINE)
        named = {name for name in re.findall(r"`([\w.]+)`", row) if name.partition(".")[0] in RANKS}
        assert named == {module.removeprefix("adadsr.") for module in modules}


def members(protocol: ast.AST) -> list[str]:
    """Attributes and methods of a class, without docstrings and bodies."""
    (found,) = (node for node in ast.walk(protocol) if isinstance(node, ast.ClassDef))
    for node in found.body:
        if isinstance(node, ast.FunctionDef):
            node.body = [ast.Expr(ast.Constant(...))]
    return [ast.unparse(node) for node in found.body if isinstance(node, ast.AnnAssign | ast.FunctionDef)]


def test_the_quoted_protocol_is_that_of_engines() -> None:
    (quoted,) = blocks(ROOT / "docs" / "extending.md", "python")
    assert members(ast.parse(quoted)) == members(ast.parse(inspect.getsource(Engine)))


def module_names() -> Iterator[tuple[str, str]]:
    """Page and dotted name of everything in backticks that begins with a module of the package."""
    for page in (page for page in GUIDES if page.parent.name == "docs"):
        for name in re.findall(r"`((?:\w+\.)+\w+)[`(]", page.read_text(encoding="utf-8")):
            name = name.removeprefix("adadsr.")
            if name.partition(".")[0] in RANKS and Path(name).suffix not in FILE_SUFFIXES:
                yield name_of(page), name


@pytest.mark.parametrize(("page", "name"), sorted(set(module_names())))
def test_named_modules_exist(page: str, name: str) -> None:
    found, *rest = importlib.import_module(f"adadsr.{name.partition('.')[0]}"), *name.split(".")[1:]
    for part in rest:
        if inspect.ismodule(found) and not hasattr(found, part):
            importlib.import_module(f"{found.__name__}.{part}")
        found = getattr(found, part)


def test_every_extra_is_described() -> None:
    lines = (ROOT / "pyproject.toml").read_text(encoding="utf-8").splitlines()
    section = lines[lines.index("[project.optional-dependencies]") + 1 :]
    extras = {line.partition(" = ")[0] for line in takewhile(lambda line: not line.startswith("["), section)}
    extras = {name for name in extras if re.fullmatch(r"\w+", name)}
    text = (ROOT / "docs" / "installation.md").read_text(encoding="utf-8")
    table = text[text.index("| extra |") : text.index("Whatever needs")]
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == extras


@pytest.mark.parametrize("page", GUIDES, ids=name_of)
def test_named_files_and_targets_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    named = set(re.findall(r"[\s`]((?:benchmarks|dev|docs|native|recipes|src|tests)/[\w/.-]*\w)", text))
    assert {path for path in named if not (ROOT / path).exists()} == set()
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"(?:^|`)make ([\w-]+)", text, re.MULTILINE)) <= targets


def test_quoted_messages_are_those_of_the_code() -> None:
    text = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    quoted = re.findall(r"^\| (`+)(.+?)\1 \|", text, re.MULTILINE)
    assert quoted
    unknown = [message for _, message in quoted if not any(known.search(message.strip()) for known in messages())]
    assert unknown == []


@cache
def messages() -> list[re.Pattern[str]]:
    """Every string of the code, and what the build says, with anything in place of what is filled in."""
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in SOURCE.rglob("*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    templates = [template(node) for node in nodes if isinstance(node, ast.JoinedStr | ast.Constant)]
    build = re.findall(r'^messages.after-success = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    return [re.compile(known) for known in {*templates, *map(re.escape, build)} if known]


def template(node: ast.JoinedStr | ast.Constant) -> str:
    """A pattern for a text; empty for one that is too short to tell anything."""
    parts = node.values if isinstance(node, ast.JoinedStr) else [node]
    fixed = [part.value if isinstance(part, ast.Constant) and isinstance(part.value, str) else None for part in parts]
    if sum(map(len, filter(None, fixed))) < LEAST_LETTERS:
        return ""
    return "^" + "".join(".*" if part is None else re.escape(part) for part in fixed) + "$"
