"""A command that is run inside of another program leaves that program's Ctrl-C and SIGTERM alone."""

import signal
import subprocess
import sys

import pytest

CODE = """
import signal
from kubernaut.cli.app import UNREACHABLE, run

before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
assert run(["audit", "verify", "--url", "http://127.0.0.1:9"]) == UNREACHABLE
assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
run(["audit", "verify", "--url", "http://127.0.0.1:9"], is_last=True)
assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
"""


TOO_EARLY = """
import asyncio, os, signal, sys
from kubernaut.cli.app import _run_async
from kubernaut.cli.reading import read_line

async def command():
    os.kill(os.getpid(), signal.Signals[sys.argv[1]])
    await read_line()

raise SystemExit(_run_async(command(), is_last=True))
"""


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_signal_just_before_a_command_waits_for_its_input_ends_it(name: str, code: int):
    with subprocess.Popen([sys.executable, "-c", TOO_EARLY, name], stdin=subprocess.PIPE) as process:
        try:
            assert process.wait(60) == code
        finally:
            process.kill()


INTERRUPTED = """
import os, signal, sys

class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == "kubernaut.cli.app":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupting())
from kubernaut.cli import main
main()
"""


def test_ctrl_c_before_a_command_has_begun_shows_no_traceback():
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )

    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "")


def test_only_the_last_command_of_a_process_ignores_signals_at_its_end():
    reset = {"preexec_fn": lambda: [signal.signal(each, signal.SIG_DFL) for each in (signal.SIGINT, signal.SIGTERM)]}
    done = subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True, timeout=60, check=False, **reset
    )

    assert done.returncode == 0, done.stderr
