"""Files that are watched may hold anything; the last good version goes on."""

import os
import socket
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from kubernaut.api.vocabulary import Environment
from kubernaut.signalprocessing import directory_watch, signal_mode
from kubernaut.signalprocessing.environment_mapping import KEY, WatchedEnvironmentMapping
from kubernaut.signalprocessing.kinds import ConfigMap
from kubernaut.signalprocessing.policy import sources
from kubernaut.signalprocessing.policy.errors import PolicyError
from kubernaut.signalprocessing.signal_mode import WatchedSignalModes
from kubernaut.signalprocessing.watched_file import InvalidFile, read_text
from support.logs import capture_logs

GOOD = f"{signal_mode.KEY}:\n  PredictedOOMKill: OOMKilled\n"

UNREADABLE = {
    "utf-16": GOOD.encode("utf-16"),
    "latin-1": "names: é".encode("latin-1"),
    "binary": bytes(range(256)),
    "large": b"#" * (signal_mode.MAX_BYTES + 1),
    "sparse": b"",
}
INVALID = {
    "empty": b"",
    "brackets": b"[" * 100_000,
    "braces": b"{" * 1_000_000,
    "sequences": b"- " * 50_000,
    "date": b"a: 2026-13-45",
    "number": b"a: !!int x",
    "nul": b"a: \0",
    "alias": b"a: *b",
    "recursive": f"{signal_mode.KEY}: &a\n  x: *a\n".encode(),
    "key": b"? [a]\n: b",
    "tag": b"a: !!python/object:os.system x",
}


@pytest.fixture
def modes(tmp_path: Path) -> WatchedSignalModes:
    path = tmp_path / "modes.yaml"
    path.write_text(GOOD)
    modes = WatchedSignalModes(path)
    modes.reload()
    return modes


@pytest.mark.parametrize("content", [*UNREADABLE.values(), *INVALID.values()], ids=[*UNREADABLE, *INVALID])
def test_previous_signal_modes_stay_and_the_log_says_why_once(
    content: bytes, modes: WatchedSignalModes, tmp_path: Path
):
    path = tmp_path / "modes.yaml"
    path.write_bytes(content)

    with capture_logs() as logs:
        modes.reload()
        modes.reload()

    assert [line["log_level"] in ("warning", "error") for line in logs] == [True]
    assert "keeping the previous one" in logs[0]["event"]
    assert modes.current.base_names == {"PredictedOOMKill": "OOMKilled"}


@pytest.mark.requirement("DEFECT-11")
def test_signal_modes_that_are_good_again_are_loaded(modes: WatchedSignalModes, tmp_path: Path):
    path = tmp_path / "modes.yaml"
    for content in (b"\xff", b"[", GOOD.replace("OOMKilled", "Other").encode(), b"\xff", GOOD.encode()):
        path.write_bytes(content)
        modes.reload()

    assert modes.current.base_names == {"PredictedOOMKill": "OOMKilled"}


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=300) | st.text(max_size=300).map(lambda text: text.encode(errors="surrogatepass")))
@example(content=b"[" * 10_000)
def test_no_content_of_a_signal_mode_file_raises(content: bytes, tmp_path: Path):
    path = tmp_path / "fuzz.yaml"
    path.write_bytes(content)

    WatchedSignalModes(path).reload()


@pytest.mark.parametrize("name", ["large", "utf-16", "latin-1", "binary"])
def test_policy_file_that_is_no_text_within_the_limit_is_rejected(name: str, tmp_path: Path):
    (tmp_path / "policy.rego").write_bytes(UNREADABLE[name])

    with pytest.raises(PolicyError, match=r"policy\.rego: (is larger|cannot be read: it is not UTF-8)"):
        sources.read(tmp_path)


def test_large_file_is_measured_before_it_is_read(tmp_path: Path):
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.truncate(1 << 40)

    with pytest.raises(InvalidFile, match="larger than"):
        read_text(path, 1024)


def test_named_pipe_is_not_waited_for(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")

    with pytest.raises(InvalidFile, match="not a regular file"):
        read_text(tmp_path / "pipe", 1024)


def _directory(path: Path) -> None:
    path.mkdir()


def _sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 30)


def _link_to_itself(path: Path) -> None:
    path.symlink_to(path.name)


ODD_FILES = {
    "directory": (_directory, "not a regular file"),
    "1 GB sparse": (_sparse, "larger than"),
    "named pipe": (os.mkfifo, "not a regular file"),
    "device": (lambda path: path.symlink_to("/dev/zero"), "not a regular file"),
    "socket": (lambda path: socket.socket(socket.AF_UNIX).bind(str(path)), "cannot be read"),
    "dangling link": (lambda path: path.symlink_to("nowhere"), "cannot be read"),
    "link to itself": (_link_to_itself, "cannot be read"),
}


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize(("make", "reason"), ODD_FILES.values(), ids=ODD_FILES)
def test_file_that_is_none_is_refused_with_the_reason(make, reason: str, modes: WatchedSignalModes, tmp_path: Path):
    (tmp_path / "modes.yaml").unlink()
    make(tmp_path / "modes.yaml")
    make(tmp_path / "policy.rego")

    with capture_logs() as logs:
        modes.reload()
        modes.reload()

    assert [reason in line["error"] for line in logs] == [True]
    assert modes.current.base_names == {"PredictedOOMKill": "OOMKilled"}
    with pytest.raises(PolicyError, match=rf"policy\.rego: .*{reason}"):
        sources.read(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_file_is_refused_with_the_reason(tmp_path: Path):
    path = tmp_path / "policy.rego"
    path.write_text("package signalprocessing")
    path.chmod(0)

    with pytest.raises(PolicyError, match="Permission denied"):
        sources.read(tmp_path)


async def test_directory_that_cannot_be_watched_is_an_expected_error(monkeypatch, tmp_path: Path):
    def out_of_watches(*_: object, **__: object) -> None:
        raise RuntimeError("OS file watch limit reached")

    monkeypatch.setattr(directory_watch.watchfiles, "awatch", out_of_watches)

    with pytest.raises(OSError, match="watch limit reached"):
        await anext(directory_watch.watch_directory(tmp_path, interval=1))


def test_invalid_lines_of_the_environment_mapping_are_one_log_line():
    mapping = WatchedEnvironmentMapping()
    text = "prod-*: production\n" + "nonsense\n" * 50_000

    with capture_logs() as logs:
        mapping.on_change(None, ConfigMap(data={KEY: text}))

    warnings = [line for line in logs if line["log_level"] == "warning"]
    assert [(line["count"], line["first"]) for line in warnings] == [(50_000, "nonsense")]
    assert mapping.current.environment_of("prod-eu") == Environment.PRODUCTION


@given(text=st.text(max_size=500))
def test_no_text_of_an_environment_mapping_raises(text: str):
    WatchedEnvironmentMapping().on_change(None, ConfigMap(data={KEY: text}))
