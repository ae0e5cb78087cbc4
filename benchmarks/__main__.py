"""Run the named benchmarks, or all of them, one after the other, each in a process of its own."""

import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

HERE = Path(__file__).parent
BENCHMARK_TIMEOUT = 600  # seconds for one benchmark

FOLDER_VARIABLE = "KUBERNAUT_BENCHMARK_FOLDER"
"""Environment variable with a folder that the benchmarks of one run share; removed at the end unless it was given."""


def names() -> list[str]:
    """Every benchmark, in alphabetical order."""
    found = (path.stem for path in HERE.glob("*.py") if not path.stem.startswith("_"))
    return sorted(stem.replace("_", "-") for stem in found if "def main(" in (HERE / f"{stem}.py").read_text())


def machine() -> str:
    """The machine in one line, as far as the figures depend on it."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return (
        f"{platform.system()} {platform.machine()}, {cores} cores, {memory:.0f} GiB, Python {platform.python_version()}"
    )


def main() -> int:
    known = names()
    wanted = sys.argv[1:] or known
    for unknown in set(wanted) - set(known):
        print(f"unknown benchmark {unknown}; known: {', '.join(known)}", file=sys.stderr)
        return 2
    print(f"# {machine()}", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="kn-bench-") as folder:
        Path(folder).chmod(0o711)
        env = {FOLDER_VARIABLE: folder, **os.environ}
        failed = [name for name in wanted if not succeeds(name, env)]
    return 1 if failed else 0


def succeeds(name: str, env: Mapping[str, str]) -> bool:
    """Run one benchmark; whether it ended by itself and well."""
    print(f"# {name}", file=sys.stderr)
    command = [sys.executable, "-m", f"benchmarks.{name.replace('-', '_')}"]
    try:
        return subprocess.run(command, env=env, timeout=BENCHMARK_TIMEOUT, check=False).returncode == 0
    except subprocess.TimeoutExpired:
        print(f"{name}: timed out after {BENCHMARK_TIMEOUT} s", file=sys.stderr)
        return False


if __name__ == "__main__":
    sys.exit(main())
