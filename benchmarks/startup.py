"""`startup`: a controller's process starts → it is ready, with 10,000 pods to cache, in seconds.

Ready is what `/readyz` says: policy compiled, every cache synced, DataStorage reached. No worker runs before that. The
baseline is the same command with `--help`: what Python and its imports cost by themselves.
"""

import asyncio
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.__main__ import machine
from benchmarks._many_pods import PODS, open_controller_on_many_pods
from kubernaut.ops import logs

BASELINES = 3


def bare_start() -> float:
    """Seconds in which the command starts, and does nothing."""
    command = [str(Path(sys.executable).with_name("kubernaut")), "controller", "--help"]
    took = []
    for _ in range(BASELINES):
        began = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        took.append(time.perf_counter() - began)
    return min(took)


async def run() -> None:
    async with open_controller_on_many_pods() as started:
        pass
    baseline = bare_start()
    print(f"# {machine()}; {started.kubernetes}; {PODS} pods; --help {baseline:.2f} s", file=sys.stderr)
    print(f"startup {started.seconds:.2f} s ratio={started.seconds / baseline:.2f}")


def main() -> None:
    logs.configure(logs.LogLevel.WARN, stream=sys.stderr)
    asyncio.run(run())


if __name__ == "__main__":
    main()
