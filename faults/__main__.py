"""`python -m faults record|edits|gateway|decision`: random histories, edits or storms of alerts.

A failure prints its seed; `--seed N` repeats it.
"""

import argparse
import asyncio
import os
import random
import signal
import sys
import tempfile
from pathlib import Path

# What starts processes and waits for them is shared with the tests.
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from faults import decisions, floods, records, storms, tampering

_COUNTS = {"record": 200, "edits": 1000, "gateway": 200, "decision": 200}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m faults", description=__doc__)
    parser.add_argument(
        "suite",
        choices=_COUNTS,
        help="record: processes, networks, disks and clocks fail; edits: SQL; gateway: storms of alerts; "
        "decision: controllers, API server, policies and statuses",
    )
    parser.add_argument("--count", type=int, help="how many (200 histories, 1000 edits, 200 storms)")
    parser.add_argument("--alerts", type=int, help="gateway: instead of storms, so many alerts in a minute")
    parser.add_argument("--seed", type=int, help="the seed of the first one, the others follow; random otherwise")
    parser.add_argument("--jobs", type=int, default=max(1, (os.cpu_count() or 1) // 2), help="histories at once")
    parser.add_argument("--keep", type=Path, help="directory for the files of what failed; a new one otherwise")
    arguments = parser.parse_args()
    seed = arguments.seed if arguments.seed is not None else random.SystemRandom().randrange(10**6)
    kept = arguments.keep or Path(tempfile.gettempdir()) / f"kubernaut-faults-{seed}"
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # whatever is mounted and running ends as with Ctrl-C
    count = arguments.count or _COUNTS[arguments.suite]
    if arguments.suite == "edits":
        return asyncio.run(tampering.run(count, seed))
    if arguments.suite == "gateway" and arguments.alerts:
        return asyncio.run(floods.run(arguments.alerts, seed, kept))
    if arguments.suite == "gateway":
        return asyncio.run(storms.run(count, seed, kept))
    if arguments.suite == "decision":
        return decisions.run(count, seed, kept)
    return records.run(count, seed, arguments.jobs, kept)


if __name__ == "__main__":
    sys.exit(main())
