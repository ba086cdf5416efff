"""The command `adadsr`. A module for each subcommand; torch is imported when a subcommand runs, so help comes at once.

app       the subcommands together, and how errors end them
options   options that several subcommands share
display   progress bar, summary and failures
"""

__all__ = ["FAILED", "INTERRUPTED", "main"]

FAILED = 1
INTERRUPTED = 130
"""Exit statuses; 2 is wrong usage."""


def main() -> None:
    """Run the command line; exits with 0, 1 (an error, or an image failed), 2 (wrong usage) or 130 (interrupted)."""
    import sys

    from adadsr.cli.app import app

    for stream in (sys.stdout, sys.stderr):
        # A file name may contain characters that the terminal cannot show, which must not be an error.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    app(prog_name="adadsr")
