"""What a newcomer sees of `kubernaut demo`, on terminals of several widths."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from acceptance.conftest import BIN
from support.services import enterable_directory

README = Path(__file__).resolve().parents[2] / "README.md"
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(120)]


def demo(columns: int, directory: Path, kubeconfig: str) -> tuple[int, str]:
    """Exit code and text of the demo on a terminal of that width."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    environment |= {"TMPDIR": str(directory), "KUBECONFIG": kubeconfig, "TERM": "xterm"}
    with subprocess.Popen(
        [BIN / "kubernaut", "demo"], stdin=theirs, stdout=theirs, stderr=theirs, env=environment
    ) as run:
        os.close(theirs)
        printed = b""
        try:
            while chunk := os.read(ours, 65536):
                printed += chunk
        except OSError:  # the other side is closed
            pass
        os.close(ours)
        code = run.wait(60)
    # A line that is erased and written again counts as two.
    return code, CONTROL.sub("", printed.decode().replace("\x1b[2K", "\n")).replace("\r", "")


def masked(text: str) -> str:
    """A line without what differs from run to run."""
    text = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|rr-[0-9a-f]{12}-|\b[0-9a-f]{8}\b", "ID", text)
    return re.sub(r"\d+", "N", re.sub(r" +", " ", text))


@pytest.fixture(scope="module", params=[60, 80])
def printed(request: pytest.FixtureRequest) -> Iterator[tuple[int, int, str]]:
    """The width of the terminal, the exit code, and the text; the cluster of the environment does not exist."""
    with enterable_directory() as directory:
        yield request.param, *demo(request.param, directory, kubeconfig="/nowhere/kubeconfig")


def test_demo_is_legible_on_a_narrow_terminal(printed: tuple[int, int, str]):
    columns, code, text = printed

    assert code == 0, text
    assert [line for line in text.splitlines() if len(line) > columns] == []
    for line in (
        "P0 KubePodCrashLooping Pod/api-7d4b-x2x9p",
        "Production (namespace label) · critical",
        "rule production-critical",
        "Pod not found",
        "6 signals, 60 events: verified",
        "a warning in Staging: P2 is now P1",
        "P1 SlowCheckout Deployment/checkout",
        "NOT VERIFIED, the edit was found",
        "the event was changed after it was stored",
        "The row put back: verified, 72 of 72 events",
    ):
        assert line in re.sub(r"\s+", " ", text)


def test_readme_shows_what_the_demo_prints(printed: tuple[int, int, str]):
    columns, _, text = printed
    if columns != 80:
        pytest.skip("the README shows a terminal of 80 columns")
    if os.environ.get("KUBEBUILDER_ASSETS"):
        pytest.skip("the README shows the embedded API server")
    shown = re.search(r"```text\n\$ make demo\n(.*?)```", README.read_text(), re.DOTALL)[1]

    lines = {masked(line) for line in text.splitlines()}
    assert [line for line in shown.splitlines() if masked(line) not in lines and line != "…"] == []


@pytest.mark.parametrize("command", ["demo", "up"])
def test_another_cluster_is_used_only_after_a_question(command: str, tmp_path: Path):
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(
        "apiVersion: v1\nkind: Config\ncurrent-context: prod-eu\n"
        "clusters: [{name: c, cluster: {server: 'https://10.1.2.3:6443'}}]\n"
        "contexts: [{name: prod-eu, context: {cluster: c, user: u}}]\nusers: [{name: u, user: {token: t}}]\n"
    )

    done = subprocess.run(
        [BIN / "kubernaut", command, "--kubeconfig", kubeconfig],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 2
    assert "context prod-eu, https://10.1.2.3:6443" in done.stderr
    assert "--yes" in done.stderr
