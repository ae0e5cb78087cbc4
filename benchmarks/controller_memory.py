"""`controller-memory`: resident memory of a controller with 10,000 pods in its cache, in MiB.

The baseline is a Python process that has imported the controller and opened nothing. The policy process, whose memory
does not depend on the cluster, is told on standard error.
"""

import asyncio
import subprocess
import sys

import psutil

from benchmarks.__main__ import machine
from benchmarks._many_pods import PODS, open_controller_on_many_pods
from kubernaut.ops import logs

IMPORTED = """
import psutil, kubernaut.signalprocessing.service
print(psutil.Process().memory_info().rss)
"""
SETTLE = 3.0  # seconds


def mib(process: psutil.Process) -> float:
    """Resident memory."""
    return float(process.memory_info().rss) / 2**20


def baseline() -> float:
    """Resident memory of the imports."""
    told = subprocess.run([sys.executable, "-c", IMPORTED], check=True, capture_output=True, text=True).stdout
    return int(told) / 2**20


async def run() -> None:
    async with open_controller_on_many_pods() as started:
        await asyncio.sleep(SETTLE)
        controller = psutil.Process(started.pid)
        memory, children = mib(controller), sum(mib(child) for child in controller.children(recursive=True))
    bare = baseline()
    details = f"# {machine()}; {started.kubernetes}; {PODS} pods; imports alone {bare:.0f} MiB"
    print(f"{details}; policy process {children:.0f} MiB", file=sys.stderr)
    print(f"controller-memory {memory:.0f} MiB ratio={memory / bare:.2f}")


def main() -> None:
    logs.configure(logs.LogLevel.WARN, stream=sys.stderr)
    asyncio.run(run())


if __name__ == "__main__":
    main()
