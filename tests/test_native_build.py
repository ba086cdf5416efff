"""What the files of an instruction set hand to the linker.

The linker may keep any copy of a function that two files define: were it the one with AVX-512, the module would crash
on processors without. So these files may define nothing but their table. Functions that are usually inlined show only
without optimisation, which is how they are compiled here, with assertions. `make test` runs this in CI.
"""

import platform
import shutil
import subprocess
from pathlib import Path

import pytest

SOURCES = Path(__file__).resolve().parents[1] / "native" / "src"
COMPILERS = [name for name in ("g++", "clang++") if shutil.which(name)]


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="AVX is compiled for x86-64 only")
@pytest.mark.skipif(not COMPILERS or not shutil.which("nm"), reason="needs g++ or clang++, and nm")
@pytest.mark.parametrize("compiler", COMPILERS)
@pytest.mark.parametrize(("isa", "tables"), [("avx2", ["avx2"]), ("avx512", ["avx512"]), ("amx", ["amx", "amx_bf16"])])
def test_an_instruction_set_defines_its_tables_and_nothing_else(
    compiler: str, isa: str, tables: list[str], tmp_path: Path
) -> None:
    source, built = SOURCES / f"isa_{isa}.cpp", tmp_path / "isa.o"
    compiled = subprocess.run([compiler, "-std=c++17", "-O0", "-c", source, "-o", built], check=isa != "amx")
    if compiled.returncode:
        pytest.skip(f"{compiler} does not know AMX; CMake leaves it out there")
    symbols = subprocess.run(
        ["nm", "--demangle", "--extern-only", "--defined-only", built], check=True, capture_output=True, text=True
    )
    defined = [line.split(" ", 2)[2] for line in symbols.stdout.splitlines()]
    assert sorted(defined) == [f"adadsr::kernels_{name}" for name in tables]
