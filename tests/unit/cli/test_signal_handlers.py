"""A command that is run inside of another program leaves that program's Ctrl-C and SIGTERM alone."""

import signal
import subprocess
import sys

CODE = """
import signal
from kubernaut.cli.app import UNREACHABLE, run

before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
assert run(["audit", "verify", "--url", "http://127.0.0.1:9"]) == UNREACHABLE
assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
run(["audit", "verify", "--url", "http://127.0.0.1:9"], is_last=True)
assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
"""


def test_only_the_last_command_of_a_process_ignores_signals_at_its_end():
    reset = {"preexec_fn": lambda: [signal.signal(each, signal.SIG_DFL) for each in (signal.SIGINT, signal.SIGTERM)]}
    done = subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True, timeout=60, check=False, **reset
    )

    assert done.returncode == 0, done.stderr
