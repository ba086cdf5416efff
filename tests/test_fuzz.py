"""A few seconds of `make fuzz` and `make kill-test`."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

FUZZ = Path(__file__).resolve().parents[1] / "fuzz"


def run(script, *arguments):
    command = [sys.executable, FUZZ / script, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.skipif(sys.platform != "linux", reason="limits memory by RLIMIT_AS")
def test_mutated_files_are_refused_or_read_as_other_decoders_read_them(cases_dir, tmp_path):
    total = run("files.py", "--count", 300, "--seed", 7, "--cases", cases_dir, "--keep", tmp_path)
    assert set(total) == {"refused", "agreed"}


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_a_killed_folder_run_is_completed_by_the_same_command():
    assert run("kills.py", "--count", 2)["wrong"] == 0
