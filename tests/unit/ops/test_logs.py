"""What a log line carries."""

import json
import re
import subprocess
import sys
from pathlib import Path

CODE = """
import structlog
from kubernaut.ops import logs
log = structlog.get_logger("audit-store")
logs.configure(logs.LogLevel.INFO)
log.debug("not shown")
log.bind(signal="ns/sp-1").info("phase changed", took=1.5)
"""


def test_a_line_is_json_off_a_terminal_with_logger_level_time_and_data():
    printed = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True).stdout

    (line,) = printed.splitlines()
    data = json.loads(line)
    assert data.pop("timestamp").endswith("Z")
    assert data == {
        "event": "phase changed",
        "level": "info",
        "logger": "audit-store",
        "signal": "ns/sp-1",
        "took": 1.5,
    }


CONSOLE = """
import sys
from kubernaut.ops import logs
import structlog
log = structlog.get_logger("gateway")
logs.configure(format=logs.LogFormat.CONSOLE)
log.info("signal created", name="a\\x1b]0;title\\x07b\\nforged line", count=3)
def fail(secret):
    raise ValueError("no \\x1b[31m")
try:
    fail("hunter2")
except ValueError:
    log.exception("cannot")
"""


def test_a_line_on_a_terminal_shows_what_the_terminal_would_obey_and_no_variable():
    done = subprocess.run([sys.executable, "-c", CONSOLE], capture_output=True, text=True, check=True, timeout=30)

    text = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout)
    first, *_ = text.splitlines()
    assert "signal created" in first
    assert all(sign in first for sign in (r"\x1b]0;title", r"\x07b", r"\nforged line"))
    assert not set("\x1b\x07") & set(text)
    assert r"ValueError: no \x1b[31m" in text
    assert "hunter2" not in text.replace('fail("hunter2")', "")


def test_a_line_that_cannot_be_written_does_not_end_the_service():
    code = CODE + "import os; os.write(2, b'still here')"
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run([sys.executable, "-c", code], stdout=full, stderr=subprocess.PIPE, text=True)

    assert done.stderr.startswith("still here")


def test_dropped_lines_are_counted_in_the_next_one(tmp_path):
    code = """
import os, resource, structlog
from kubernaut.ops import logs
logs.configure(logs.LogLevel.INFO)
log = structlog.get_logger("x")
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
log.info("one"); log.info("two")
resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
log.info("three")
"""
    with (tmp_path / "log").open("wb") as log:
        subprocess.run([sys.executable, "-c", code], stdout=log, check=True)

    dropped, three = map(json.loads, (tmp_path / "log").read_text().splitlines())
    assert dropped == {"event": "log lines dropped", "count": 2}
    assert three["event"] == "three"


RUNTIME = """
import structlog
from kubernaut.ops import logs
log = structlog.get_logger("x")
logs.configure(logs.LogLevel.INFO)
bound = log.bind(key="k")
log.debug("a"); bound.debug("a")
logs.set_level(logs.LogLevel.DEBUG)
log.debug("b"); bound.debug("c")
logs.set_level(logs.LogLevel.WARN)
log.info("d"); bound.warning("e")
"""


def test_level_changes_for_loggers_that_are_in_use():
    printed = subprocess.run([sys.executable, "-c", RUNTIME], capture_output=True, text=True, check=True).stdout

    assert [json.loads(line)["event"] for line in printed.splitlines()] == ["b", "c", "e"]


SAMPLED = """
import structlog
from kubernaut.ops import logs
log = structlog.get_logger("x")
logs.configure(logs.LogLevel.INFO)
seconds = iter([1.0] * 5 + [1.5, 2.0, 2.1])
logs.time.monotonic = lambda: next(seconds)
logs.set_level(logs.LogLevel.INFO, 2)
for number in range(5):
    log.info("busy", number=number)
log.info("other")
for number in range(9):
    log.warning("never left out")
log.info("busy", number=5)
log.info("busy", number=6)
"""


def test_lines_beyond_the_rate_are_left_out_and_counted():
    printed = subprocess.run([sys.executable, "-c", SAMPLED], capture_output=True, text=True, check=True).stdout

    lines = [json.loads(line) for line in printed.splitlines()]
    assert [line["event"] for line in lines].count("never left out") == 9
    busy = [(line["number"], line.get("suppressed")) for line in lines if line["event"] == "busy"]
    assert busy == [(0, None), (1, None), (5, 3), (6, None)]
