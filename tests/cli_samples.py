"""The command as a user starts it."""

import os
import subprocess
import sys

from typer.testing import CliRunner

from adadsr.cli.app import app

# A shell that starts tests in the background makes them deaf to SIGINT; the command itself must hear it.
COMMAND = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from adadsr.cli import main; main()"


def call(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments], prog_name="adadsr")


def check_interruption(monkeypatch, function, command, advice="repeat the command to resume"):
    """Ctrl-C in a function, by its dotted name, ends a command that calls it, with advice on how to go on."""

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(function, interrupted)
    done = command()
    assert (done.exit_code, done.stderr) == (130, f"adadsr: interrupted; {advice}\n")


def upscale(*arguments):
    return call("upscale", "--model", "tiny.safetensors", "--device", "cpu", *arguments)


def start(*arguments):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "100"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": environment}
    return subprocess.Popen([sys.executable, "-c", COMMAND, *arguments], **pipes)
