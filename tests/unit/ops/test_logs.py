"""What a log line carries."""

import json
import subprocess
import sys

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
    said = json.loads(line)
    assert said.pop("timestamp").endswith("Z")
    assert said == {
        "event": "phase changed",
        "level": "info",
        "logger": "audit-store",
        "signal": "ns/sp-1",
        "took": 1.5,
    }
