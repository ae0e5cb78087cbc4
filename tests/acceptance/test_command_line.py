"""The command line as somebody types it: kubectl's options, services that are not there, addresses with a login."""

import json
import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(sys.executable).with_name("kubernaut")
NOWHERE = "http://me:hunter2@127.0.0.1:9"
EVERYWHERE = "0.0.0.0"  # noqa: S104 - it is refused


def kubernaut(*arguments, env=None, content=None):
    return subprocess.run(
        [PROGRAM, *map(str, arguments)],
        capture_output=True,
        text=True,
        input=content,
        timeout=60,
        check=False,
        env={**os.environ, **(env or {})},
    )


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["audit", "query", "--url", "127.0.0.1:8080"], 2, "no http:// or https:// URL"),
        (["audit", "query", "--url", "ftp://me:hunter2@x"], 2, "ftp://***@x"),
        (["audit", "query", "--url", "http://"], 2, "no http:// or https:// URL"),
        (["audit", "query", "--url", "http://127.0.0.1:x"], 2, "no http:// or https:// URL"),
        (["audit", "query", "--url", NOWHERE], 3, "http://***@127.0.0.1:9"),
        (["audit", "timeline", "rr-1", "--url", NOWHERE], 3, "try: kubernaut up"),
        (["audit", "receipt", "nope"], 2, "'nope' is no event id"),
        (["audit", "query", "--sinse", "1h"], 2, "--since"),
        (["audit", "query", "--limit", "0"], 2, "at least 1"),
        (["signals", "list", "-A", "-n", "shop"], 2, "-A and -n exclude each other"),
        (["signals", "list", "--priority", "P9"], 2, "P0, P1, P2, P3"),
        (["signals", "list", "-o", "xml"], 2, "jsonpath=TEMPLATE"),
        (["signals", "list", "-o", "jsonpath=.items"], 2, "{.items}"),
        (["signals", "list", "-o", "json=x"], 2, "takes no template"),
        (["signals", "list", "--kubeconfig", "/nowhere"], 3, "no such file: /nowhere"),
        (["signals", "lst"], 2, "signals"),
        (["config", "show", "gatway"], 2, "gateway"),
        (["config", "check", "gateway", "--config", "/nowhere"], 2, "No such file"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_command_says_what_is_wrong_and_exits_as_told(arguments, code, says):
    done = kubernaut(*arguments)

    assert done.returncode == code, done.stderr
    assert says in " ".join(done.stderr.replace("│", " ").split())
    assert "hunter2" not in done.stderr
    assert "Traceback" not in done.stderr


def test_wrong_usage_names_the_help_of_its_own_command():
    assert "See: kubernaut signals list --help" in kubernaut("signals", "list", "--nope").stderr


def test_missing_files_of_a_list_in_kubeconfig_are_all_named():
    done = kubernaut("signals", "list", env={"KUBECONFIG": "/nowhere/a:/nowhere/b"})

    assert done.returncode == 3
    assert "/nowhere/a, /nowhere/b" in done.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_completion_script_knows_the_commands(shell):
    done = kubernaut("completion", shell)

    assert done.returncode == 0
    assert "signals" in done.stdout
    assert "--priority" in done.stdout or "priority" in done.stdout
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=done.stdout, text=True, check=True, timeout=20)


def test_the_version_is_for_people_and_for_programs():
    version = json.loads(kubernaut("version", "-o", "json").stdout)["version"]

    assert kubernaut("version").stdout.startswith(f"kubernaut {version} (Python ")
    assert kubernaut("version", "-o", "jsonpath={.version}").stdout == version


@pytest.mark.parametrize("service", ["controller", "datastorage", "gateway"])
def test_a_shown_configuration_can_be_used_as_it_is(service, tmp_path):
    shown = kubernaut("config", "show", service)
    (tmp_path / "config.yaml").write_text(shown.stdout)

    checked = kubernaut("config", "check", service, "--config", tmp_path / "config.yaml")

    assert (shown.returncode, checked.returncode) == (0, 0), checked.stderr
    assert kubernaut("config", "show", service, "--config", tmp_path / "config.yaml").stdout == shown.stdout


def test_the_labels_of_the_gateway_are_shown_with_the_built_in_ones(tmp_path):
    (tmp_path / "config.yaml").write_text("intake: {labels: {app: Deployment.v1.apps, pod: ''}}\n")

    done = kubernaut("config", "show", "gateway", "--config", tmp_path / "config.yaml", "-o", "json")

    labels = json.loads(done.stdout)["intake"]["labels"]
    assert next(iter(labels)) == "app"
    assert (labels["pod"], labels["deployment"]) == ("", "Deployment.v1.apps")


def test_a_variable_that_no_service_reads_is_noted():
    done = kubernaut("config", "check", "gateway", env={"KUBERNAUT_GATEWY__SERVER__PORT": "1"})

    assert done.returncode == 0
    assert "KUBERNAUT_GATEWY__SERVER__PORT is set, and no service reads it" in done.stderr


def test_a_service_that_strangers_could_use_is_found_by_the_check():
    done = kubernaut("config", "check", "gateway", env={"KUBERNAUT_GATEWAY__SERVER__HOST": EVERYWHERE})

    assert done.returncode == 2
    assert "can be reached from other machines" in done.stderr


@pytest.mark.parametrize("columns", [60, 80])
@pytest.mark.parametrize("command", [["--help"], ["signals", "list", "--help"], ["audit", "query", "--help"]])
def test_help_fits_a_narrow_terminal(command, columns):
    controller, terminal = pty.openpty()
    with os.fdopen(controller, "rb", buffering=0) as screen:
        # rich asks the terminal for its size, and COLUMNS before it.
        done = subprocess.Popen(
            [PROGRAM, *command],
            stdout=terminal,
            stderr=terminal,
            env={**os.environ, "COLUMNS": str(columns), "NO_COLOR": "1", "TERM": "dumb"},
        )
        os.close(terminal)
        shown = b""
        try:
            while part := screen.read(65536):
                shown += part
        except OSError:
            pass  # the program has closed the terminal
        assert done.wait(timeout=60) == 0

    lines = shown.decode().splitlines()
    assert lines
    assert max(map(len, lines)) <= columns


def test_a_cluster_that_is_away_is_told_in_one_line_and_a_hint(tmp_path):
    (tmp_path / "config").write_text(
        "clusters: [{name: a, cluster: {server: 'https://127.0.0.1:9'}}]\n"
        "contexts: [{name: a, context: {cluster: a, user: a}}]\nusers: [{name: a, user: {}}]\ncurrent-context: a\n"
    )
    for command in (["signals", "list"], ["signals", "watch"], ["signals", "timeline", "sp-x"]):
        done = kubernaut(*command, env={"KUBECONFIG": str(tmp_path / "config")})

        assert done.returncode == 3
        assert [line.partition(":")[0] for line in done.stderr.splitlines()] == ["kubernaut", "try"]
