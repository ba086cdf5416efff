"""The README is true: it has a line for each file of the package, and its links lead somewhere."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_every_file_of_the_package_has_a_line() -> None:
    package = ROOT / "src" / "adadsr"
    listed = set(re.findall(r"^\| `([\w/]+\.py)` \|", README, re.MULTILINE))
    assert listed == {path.relative_to(package).as_posix() for path in package.rglob("*.py")}


def test_links_lead_to_files() -> None:
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
