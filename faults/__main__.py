"""`python -m faults record|edits`: random histories or edits. A failure prints its seed; `--seed N` repeats it."""

import argparse
import os
import random
import sys
import tempfile
from pathlib import Path

# What starts processes and waits for them is shared with the tests.
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from faults import records


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m faults", description=__doc__)
    parser.add_argument("suite", choices=["record"], help="record: processes, networks, disks and clocks fail")
    parser.add_argument("--count", type=int, default=200, help="how many (200)")
    parser.add_argument("--seed", type=int, help="the seed of the first one, the others follow; random otherwise")
    parser.add_argument("--jobs", type=int, default=max(1, (os.cpu_count() or 1) // 2), help="how many at once")
    parser.add_argument("--keep", type=Path, help="directory for the files of what failed; a new one otherwise")
    arguments = parser.parse_args()
    seed = arguments.seed if arguments.seed is not None else random.SystemRandom().randrange(10**6)
    kept = arguments.keep or Path(tempfile.gettempdir()) / f"kubernaut-faults-{seed}"
    return records.run(arguments.count, seed, arguments.jobs, kept)


if __name__ == "__main__":
    sys.exit(main())
