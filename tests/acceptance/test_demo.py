"""What a newcomer sees of `kubernaut demo`, on terminals of several widths."""

import os
import re
import shlex
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from acceptance.conftest import BIN, start_up, stop_up
from support.services import enterable_directory
from support.terminal import open_terminal

README = Path(__file__).resolve().parents[2] / "README.md"

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(120)]


def demo(columns: int, directory: Path, kubeconfig: str) -> tuple[int, str]:
    """Exit code and text of the demo on a terminal of that width."""
    env = {"TMPDIR": str(directory), "KUBECONFIG": kubeconfig}
    with open_terminal([BIN / "kubernaut", "demo"], columns=columns, env=env) as terminal:
        return terminal.wait(), terminal.text


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


@pytest.fixture
def kubeconfig(tmp_path: Path) -> Path:
    """Two contexts of a cluster that nobody reaches; the address has a login."""
    path = tmp_path / "kubeconfig"
    path.write_text(
        "apiVersion: v1\nkind: Config\ncurrent-context: prod-eu\n"
        "clusters: [{name: c, cluster: {server: 'https://me:hunter2@10.1.2.3:6443'}}]\n"
        "contexts: [{name: prod-eu, context: {cluster: c, user: u}}, {name: stage, context: {cluster: c, user: u}}]\n"
        "users: [{name: u, user: {token: t}}]\n"
    )
    return path


def test_ctrl_c_while_the_stack_starts_ends_it_in_silence():
    with enterable_directory() as directory:
        with open_terminal([BIN / "kubernaut", "demo"], env={"TMPDIR": str(directory)}) as terminal:
            terminal.read_until("Valkey on")
            terminal.type("\x03")

            assert terminal.wait() == 130
        assert {"Traceback", "initdb", "ERROR"} & set(re.findall(r"\w+", terminal.text)) == set()
        assert list(directory.glob("kubernaut-demo-*")) == []


@pytest.mark.parametrize("command", ["demo", "up"])
@pytest.mark.parametrize(
    ("arguments", "context"),
    [
        (["--kubeconfig", "FILE"], "prod-eu"),
        (["--kubeconfig", "FILE", "--context", ""], "prod-eu"),
        (["--kubeconfig", "FILE", "--context", "stage"], "stage"),
        (["--context", "stage"], "stage"),
        (["--context", "prod-eu"], "prod-eu"),
    ],
    ids=" ".join,
)
def test_another_cluster_is_used_only_after_a_question(
    command: str, arguments: list[str], context: str, kubeconfig: Path
):
    done = subprocess.run(
        [BIN / "kubernaut", command, *(str(kubeconfig) if each == "FILE" else each for each in arguments)],
        env={**os.environ, "KUBECONFIG": f"/nowhere/config{os.pathsep}{kubeconfig}"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 2
    assert f"context {context}, https://***@10.1.2.3:6443" in done.stderr
    assert "--yes" in done.stderr


@pytest.mark.parametrize(("answer", "code"), [("n\n", 2), ("\n", 2), ("\x04", 2), ("\x03", 130)])
def test_the_question_about_another_cluster_takes_no_and_ctrl_c(answer: str, code: int, kubeconfig: Path):
    with open_terminal([BIN / "kubernaut", "up", "--kubeconfig", kubeconfig]) as terminal:
        terminal.read_until("Continue? [y/N] ")
        terminal.type(answer)

        assert terminal.wait(20) == code


def test_the_context_that_was_confirmed_stays_the_one_that_is_used(kubernetes: Path, tmp_path: Path):
    content = yaml.safe_load(kubernetes.read_text())
    (there,) = content["contexts"]
    gone = {"name": "gone", "cluster": {"server": "https://127.0.0.1:9"}}
    content["clusters"].append(gone)
    content["contexts"].append({"name": "elsewhere", "context": {"cluster": "gone", "user": there["context"]["user"]}})
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(yaml.safe_dump({**content, "current-context": "elsewhere"}))
    with enterable_directory() as directory:
        up = start_up(directory / "data", "--kubeconfig", str(kubeconfig), "--context", there["name"], "--yes")
        try:
            kubeconfig.unlink()
            listed = up.run("kubernaut", "signals", "list", check=False)
            used = Path(up.env["KUBECONFIG"])
            assert yaml.safe_load(used.read_text())["current-context"] == there["name"]
            assert stat.S_IMODE(used.stat().st_mode) == 0o600
        finally:
            assert stop_up(up) == 0

        assert listed.returncode == 0, listed.stderr
        assert not used.exists()
        assert f"Kubernetes: context {there['name']}, http" in " ".join(up.printed.split())


def test_what_is_printed_for_another_terminal_works_there():
    """As with `uvx` and `pipx run`: this terminal has the program on its PATH, the other one has not."""
    with enterable_directory() as directory:
        up = start_up(directory / "data", path=f"{BIN}:{os.environ['PATH']}")
        try:
            _, _, rest = up.printed.partition("In another terminal:\n")
            script, _, _ = rest.partition("WEBHOOK is the address")
            assert f'export PATH={shlex.quote(str(BIN))}:"$PATH"' in script
            done = subprocess.run(
                ["sh", "-euc", script],
                env={"PATH": "/usr/bin:/bin", "HOME": str(directory)},
                cwd="/",
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
        finally:
            assert stop_up(up) == 0

    assert done.returncode == 0, done.stderr
    assert "verified" in done.stdout
