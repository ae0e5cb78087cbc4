"""The server as a child process: for programs and tests that have no event loop to lend.

A process, not a thread, so that the server neither takes the interpreter lock from the tests nor shares their warnings,
signals and audit hooks. It stops when the block is left, and when its parent ends in whatever way: it reads the pipe
that only the parent holds.
"""

import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Timer

from pocketkube.api_server import ApiServer, StartError

START_TIMEOUT = 30.0  # seconds
STOP_TIMEOUT = 10.0  # seconds, before the process is killed


@contextmanager
def running_api_server(
    directory: Path | None = None, *, port: int = 0, kubeconfig: Path | None = None, token: str = ""
) -> Iterator[ApiServer]:
    """Run a server in a child process until the block is left; without a directory nothing is kept.

    The parameters are those of `open_api_server`. Raises StartError with what the process said when it does not start.
    """
    with contextlib.ExitStack() as stack:
        if directory is None:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pocketkube-")))
        command = [sys.executable, "-m", "pocketkube", "run", "--output=json", "--stop-on-eof", f"--data={directory}"]
        command.append(f"--port={port}")
        if kubeconfig is not None:
            command.append(f"--kubeconfig={kubeconfig}")
        if token:
            command.append(f"--token={token}")
        errors = stack.enter_context(tempfile.TemporaryFile("w+"))
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, start_new_session=True, text=True
        )
        try:
            line = _first_line(process)
            if not line.startswith("{"):
                process.wait(STOP_TIMEOUT)
                errors.seek(0)
                raise StartError(f"pocketkube did not start (exit code {process.returncode}): {errors.read().strip()}")
            started = json.loads(line)
            yield ApiServer(url=started["url"], kubeconfig=Path(started["kubeconfig"]), token=started["token"])
        finally:
            _stop(process)


def _first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None  # noqa: S101 - it is a pipe
    timer = Timer(START_TIMEOUT, process.kill)
    timer.start()
    try:
        return process.stdout.readline()
    finally:
        timer.cancel()
        timer.join()


def _stop(process: subprocess.Popen[str]) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
    try:
        process.wait(STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
