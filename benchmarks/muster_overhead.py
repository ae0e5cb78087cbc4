"""What pytest-muster adds to plain xdist: milliseconds for each test, and seconds for each run."""

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

TESTS = 2_000
FILES = 20
ROUNDS = 5
WORKERS = 2
PLAIN = ["-p", "xdist.plugin"]
MUSTER = [*PLAIN, "-p", "pytest_muster.plugin"]


def write_suite(directory: Path, files: int, tests: int) -> Path:
    """So many files with trivial tests: nothing but what pytest and its plugins do takes time."""
    directory.mkdir()
    (directory / "pytest.ini").write_text("[pytest]\n")
    for number in range(files):
        bodies = (f"def test_{test}():\n    assert {test} + 1 > {test}\n" for test in range(tests // files))
        (directory / f"test_{number:02}.py").write_text("\n\n".join(bodies))
    return directory


def seconds(suite: Path, plugins: list[str]) -> tuple[float, float]:
    """The wall time and the processor time of one run; no other plugin than the named ones is loaded."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *plugins, "-n", str(WORKERS)]
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed plugin is compiled once, not in every process
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, cwd=suite, env=environment, capture_output=True, text=True, check=False)
    took, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} in {suite} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return took, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def added(took: dict[str, list[float]]) -> tuple[float, float]:
    """Seconds a run and milliseconds a test, from medians."""
    middle = {name: median(values) for name, values in took.items()}
    a_run = middle["small muster"] - middle["small plain"]
    return a_run, (middle["large muster"] - middle["large plain"] - a_run) / TESTS * 1e3


def main() -> None:
    wall: dict[str, list[float]] = {"small plain": [], "small muster": [], "large plain": [], "large muster": []}
    busy: dict[str, list[float]] = {name: [] for name in wall}
    with tempfile.TemporaryDirectory() as root:
        suites = {
            "small": write_suite(Path(root, "small"), 1, 2),
            "large": write_suite(Path(root, "large"), FILES, TESTS),
        }
        for suite in suites.values():
            seconds(suite, MUSTER)  # compiles the tests, and leaves a record as earlier runs do
        for round_number in range(ROUNDS):
            ways = [("plain", PLAIN), ("muster", MUSTER)]
            for way, plugins in ways if round_number % 2 else reversed(ways):
                for size, suite in suites.items():
                    took, used = seconds(suite, plugins)
                    wall[f"{size} {way}"].append(took)
                    busy[f"{size} {way}"].append(used)
    for name in wall:
        shown = " ".join(f"{took:.2f} ({used:.2f})" for took, used in zip(wall[name], busy[name], strict=True))
        print(f"muster-overhead: {name}: {shown} s, processor time in brackets", file=sys.stderr)
    a_run, a_test = added(wall)
    cpu_a_run, cpu_a_test = added(busy)
    print(
        f"muster-overhead: {a_run:.3f} s added a run;"
        f" processor time: {cpu_a_run:.3f} s a run, {cpu_a_test:.3f} ms a test",
        file=sys.stderr,
    )
    print(
        f"muster-overhead {a_test:.3f} ms/test ratio={median(wall['large muster']) / median(wall['large plain']):.2f}"
    )


if __name__ == "__main__":
    main()
