"""What pytest-muster adds to plain xdist: milliseconds for each test, and seconds for each run."""

import os
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


def seconds(suite: Path, plugins: list[str]) -> float:
    """The wall time of one run; no other plugin than the named ones is loaded."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *plugins, "-n", str(WORKERS)]
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    began = time.perf_counter()
    done = subprocess.run(command, cwd=suite, env=environment, capture_output=True, text=True, check=False)
    took = time.perf_counter() - began
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} in {suite} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return took


def main() -> None:
    took: dict[str, list[float]] = {"small plain": [], "small muster": [], "large plain": [], "large muster": []}
    with tempfile.TemporaryDirectory() as root:
        suites = {
            "small": write_suite(Path(root, "small"), 1, 2),
            "large": write_suite(Path(root, "large"), FILES, TESTS),
        }
        for round_number in range(ROUNDS):
            ways = [("plain", PLAIN), ("muster", MUSTER)]
            for way, plugins in ways if round_number % 2 else reversed(ways):
                for size, suite in suites.items():
                    took[f"{size} {way}"].append(seconds(suite, plugins))
    middle = {name: median(values) for name, values in took.items()}
    a_run = middle["small muster"] - middle["small plain"]
    a_test = (middle["large muster"] - middle["large plain"] - a_run) / TESTS * 1e3
    for name, values in took.items():
        print(f"muster-overhead: {name}: {' '.join(f'{value:.2f}' for value in values)} s", file=sys.stderr)
    print(f"muster-overhead: {a_run:.3f} s added a run", file=sys.stderr)
    print(f"muster-overhead {a_test:.3f} ms/test ratio={middle['large muster'] / middle['large plain']:.2f}")


if __name__ == "__main__":
    main()
