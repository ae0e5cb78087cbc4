"""The command line as somebody types it: kubectl's options, services that are not there, addresses with a login."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kubernaut.embedded.demo import scenario
from kubernaut.signalprocessing import default_policy
from support.terminal import open_terminal

PROGRAM = Path(sys.executable).with_name("kubernaut")
DEMO = Path(scenario.__file__).parent
ALERTS, CLUSTER = DEMO / "alerts.json", DEMO / "cluster"
COMMAND = 'exec "$0" process "$1" --cluster "$2"'
"""For a shell that is given program, alerts and cluster, whose paths may have blanks."""
POLICY = Path(default_policy.__file__).parent / "policy.rego"
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
        (["signals", "list", "extra"], 2, "Unexpected argument: extra"),
        (["up", "one", "two"], 2, "Unexpected argument: one two"),
        (["-n", "shop", "signals", "list"], 2, "options come after it, as in: kubernaut signals list -n shop"),
        (["signals", "-n", "shop", "list"], 2, "-n stands before the command"),
        (["signals", "list", "-w"], 2, "kubernaut signals watch"),
        (["signals", "list", "--context", "nope", "--kubeconfig", "/"], 3, "/: Is a directory"),
        (["signals", "list", "--kubeconfig", "/etc/passwd"], 3, "is not a kubeconfig: clusters, contexts and users"),
        (["audit", "query", "--limit", "ten"], 2, 'Invalid value for --limit: "ten" is no whole number'),
        (["audit", "verify", "/etc/passwd"], 2, "try: kubernaut audit verify /etc/passwd --key VKEY"),
        (["up", "--data-dir", "/proc/x"], 3, "choose another --data-dir"),
        (["help", "signals", "lst"], 2, "signals"),
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
    assert "Errno" not in done.stderr


def test_wrong_usage_names_the_help_of_its_own_command():
    assert "See: kubernaut signals list --help" in kubernaut("signals", "list", "--nope").stderr


def test_help_is_a_command_as_elsewhere():
    assert kubernaut("help", "signals", "list").stdout == kubernaut("signals", "list", "--help").stdout
    assert kubernaut("help").stdout == kubernaut("--help").stdout


@pytest.mark.parametrize(
    "command", [["process", "-", "--cluster", CLUSTER], ["policy", "eval", POLICY, "--input", "-"]]
)
@pytest.mark.parametrize("ending", ["ctrl-c", "end of input", "terminated"])
def test_a_command_that_waits_for_its_input_says_so_and_can_be_ended(command, ending):
    with open_terminal([PROGRAM, *command]) as terminal:
        terminal.read_until("Reading standard input; end it with Ctrl-D.")
        if ending == "terminated":
            terminal.process.terminate()
        else:
            terminal.type("\x03" if ending == "ctrl-c" else "\x04")

        assert terminal.wait(20) == {"ctrl-c": 130, "end of input": 2, "terminated": 143}[ending], terminal.text
    assert "Traceback" not in terminal.text


def test_a_named_pipe_is_read_and_a_signal_ends_the_wait_for_who_writes_it(tmp_path):
    pipe = tmp_path / "alerts"
    os.mkfifo(pipe)
    script = '(cat "$1" > "$3") & exec "$0" process "$3" --cluster "$2" -o name'
    arguments = ["sh", "-c", script, PROGRAM, ALERTS, CLUSTER, pipe]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == kubernaut("process", ALERTS, "--cluster", CLUSTER, "-o", "name").stdout

    with subprocess.Popen([PROGRAM, "process", pipe, "--cluster", CLUSTER]) as waiting:
        writer = os.open(pipe, os.O_WRONLY)  # waits for who opens it for reading
        waiting.terminate()
        assert waiting.wait(20) == 143
        os.close(writer)


@pytest.mark.parametrize("closed", ["0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-"])
def test_closed_standard_streams_end_no_command(closed):
    done = subprocess.run(["sh", "-c", f"{COMMAND} {closed}", PROGRAM, ALERTS, CLUSTER], check=False, timeout=60)

    assert done.returncode == 0


def test_closed_standard_input_is_empty():
    done = subprocess.run(
        ["sh", "-c", f"{COMMAND} 0<&-", PROGRAM, "-", CLUSTER], stderr=subprocess.PIPE, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (2, b"kubernaut: -: is empty\n")


def test_another_encoding_than_utf8_changes_no_answer():
    """As in a locale such as en_US.ISO-8859-1; text that it cannot show is printed as escapes."""
    other = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = ("process", ALERTS, "--cluster", CLUSTER, "-o", "json")

    done = kubernaut(*command, env=other)

    assert done.returncode == 0, done.stderr
    decided = [each["status"]["priorityAssignment"] for each in json.loads(done.stdout)]
    usual = [each["status"]["priorityAssignment"] for each in json.loads(kubernaut(*command).stdout)]
    assert [each["priority"] for each in decided] == [each["priority"] for each in usual]
    listed = kubernaut("config", "show", "gateway", env={**other, "KUBERNAUT_GATEWAY__INTAKE__NAMESPACE": "é"})
    assert "Traceback" not in listed.stderr


@pytest.mark.parametrize("service", ["datastorage", "gateway", "controller"])
def test_a_service_on_a_terminal_logs_lines_that_can_be_read(service, tmp_path):
    env = {
        "HOME": str(tmp_path),
        "KUBECONFIG": "",
        "KUBERNAUT_DATASTORAGE__DATABASE__PORT": "9",
        "KUBERNAUT_DATASTORAGE__DATABASE__CONNECT_ATTEMPTS": "2",
        "KUBERNAUT_DATASTORAGE__DATABASE__PASSWORD": "hunter2",
        "KUBERNAUT_GATEWAY__DATASTORAGE__SPOOL_DIR": str(tmp_path),
        "KUBERNAUT_CONTROLLER__DATASTORAGE__SPOOL_DIR": "/proc/spool",
    }
    with open_terminal([PROGRAM, service], env=env) as terminal:
        assert terminal.wait() == 3, terminal.text

    assert "Traceback" not in terminal.text
    assert "hunter2" not in terminal.text
    assert "--kubeconfig" not in terminal.text
    assert ("PostgreSQL not ready, retrying" in terminal.text) == (service == "datastorage")


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
@pytest.mark.parametrize("term", ["dumb", "xterm"])
def test_help_fits_a_narrow_terminal(command, columns, term):
    with open_terminal([PROGRAM, *command], columns=columns, env={"NO_COLOR": "1", "TERM": term}) as terminal:
        assert terminal.wait() == 0

    lines = terminal.text.splitlines()
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
