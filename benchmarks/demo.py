"""`demo`: `kubernaut demo` is started → its first decision is on the screen, in seconds.

The baseline is the time until the stack is ready in the same run: the rest is the shop, the alerts
and the decision.
"""

import re
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.__main__ import machine

RUNS = 3
DECISION = re.compile(r"P\d  ")
RUN_TIMEOUT = 120  # seconds for one run


def once() -> tuple[float, float]:
    """Seconds until the stack is ready, and until the first decision is printed."""
    command = [str(Path(sys.executable).with_name("kubernaut")), "demo"]
    began = time.perf_counter()
    ready = decided = 0.0
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as demo:
        assert demo.stdout is not None  # noqa: S101 - a pipe was asked for
        for line in demo.stdout:
            now = time.perf_counter() - began
            if line.rstrip().endswith("all ready"):
                ready = now
            if not decided and DECISION.match(line):
                decided = now
        code = demo.wait(RUN_TIMEOUT)
    if code or not decided:
        raise SystemExit(f"kubernaut demo exited with code {code}")
    return ready, decided


def main() -> None:
    runs = sorted((once() for _ in range(RUNS)), key=lambda run: run[1])
    ready, decided = runs[RUNS // 2]
    print(f"# {machine()}", file=sys.stderr)
    print(f"# {RUNS} runs, first decision after {', '.join(f'{run[1]:.2f} s' for run in runs)}", file=sys.stderr)
    print(f"demo {decided:.2f} s ratio={decided / ready:.2f}")


if __name__ == "__main__":
    main()
