"""`uc-hf` for the tests: in this process, or as the program that a user starts."""

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from typer.testing import CliRunner, Result

from uc_hf.cli.app import app


PROGRAM = Path(sys.executable).with_name("uc-hf")
DEADLINE = 120


def invoke(*words: object) -> Result:
    """Run a command in this process: the libraries are imported only once."""
    return CliRunner().invoke(app, [str(word) for word in words])


def succeed(*words: object) -> str:
    """Run a command in this process that has to succeed, and give what it prints on stdout."""
    result = invoke(*words)
    assert result.exit_code == 0, result.output
    return result.stdout


def start(*words: object, home: Path | None = None, file_limit: int | None = None) -> "subprocess.Popen[str]":
    """Start the real program.

    Args:
        words: what the user writes behind `uc-hf`.
        home: its Hugging Face cache, when not the tests'.
        file_limit: bytes beyond which no file can grow, as on a full disk.
    """

    def prepare() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # tests that run in a shell's background ignore Ctrl-C
        if file_limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))

    return subprocess.Popen(
        [str(PROGRAM), *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | ({} if home is None else {"HF_HOME": str(home)}),
        preexec_fn=prepare,
    )


def interrupt(process: "subprocess.Popen[str]", when: Callable[[], bool]) -> str:
    """Press Ctrl-C as soon as a condition holds, and give what the program then says on stderr."""
    end = time.monotonic() + DEADLINE
    while not when():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end, "the program did not get there in time"
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    return process.communicate(timeout=DEADLINE)[1]
