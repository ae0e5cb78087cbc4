"""How close a skewed suite on 4 workers comes to the ideal makespan; `--dist load` and `worksteal` beside it."""

import os
import random
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

WORKERS = 4
SEED = 15
ROUNDS = 3
WAYS = {
    "muster": ["-p", "pytest_muster.plugin"],
    "load": ["--dist", "load"],
    "worksteal": ["--dist", "worksteal"],
}


def durations() -> list[float]:
    """Seconds of each test: many short ones, some long ones, anywhere."""
    drawn = random.Random(SEED)
    took = [drawn.uniform(0.005, 0.05) for _ in range(90)]
    took += [drawn.uniform(0.2, 0.6) for _ in range(12)] + [drawn.uniform(1.0, 1.8) for _ in range(6)]
    drawn.shuffle(took)
    return took


def write_suite(directory: Path, took: list[float]) -> None:
    directory.mkdir()
    (directory / "pytest.ini").write_text("[pytest]\n")
    # The suite itself says when its first test began and its last one ended, whoever distributes it.
    (directory / "conftest.py").write_text(
        "import os, time\nimport pytest\n\n\n@pytest.hookimpl(wrapper=True)\n"
        "def pytest_runtest_protocol(item):\n    began = time.time()\n    try:\n        return (yield)\n"
        "    finally:\n        with open(os.environ['SPANS'], 'a') as spans:\n"
        "            spans.write(f'{began} {time.time()}\\n')\n"
    )
    for number in range(0, len(took), 12):
        tests = (
            f"def test_{place}():\n    time.sleep({seconds})\n"
            for place, seconds in enumerate(took[number : number + 12], number)
        )
        (directory / f"test_{number // 12:02}.py").write_text("import time\n\n\n" + "\n\n".join(tests))


def makespan(suite: Path, options: list[str]) -> float:
    spans = suite.parent / "spans"
    spans.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "xdist.plugin", *options]
    done = subprocess.run(
        [*command, "-n", str(WORKERS)],
        cwd=suite,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "SPANS": str(spans)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode or not re.search(r"\d+ passed", done.stdout):
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    rows = [line.split() for line in spans.read_text().splitlines()]
    return max(float(end) for _, end in rows) - min(float(begin) for begin, _ in rows)


def main() -> None:
    took = durations()
    ideal = max(max(took), sum(took) / WORKERS)
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as root:
        suite = Path(root, "suite")
        write_suite(suite, took)
        first = makespan(suite, WAYS["muster"])  # leaves the record from which the next ones know the durations
        for _ in range(ROUNDS):
            for way, options in WAYS.items():
                seconds[way].append(makespan(suite, options))
    print(
        f"muster-schedule: {len(took)} tests, {sum(took):.1f} s, the longest {max(took):.2f} s, {WORKERS} workers,"
        f" ideal {ideal:.2f} s; without a record {first / ideal:.2f} times the ideal",
        file=sys.stderr,
    )
    for way, each in seconds.items():
        shown = " ".join(f"{value / ideal:.2f}" for value in each)
        print(f"muster-schedule: {way}: {shown} times the ideal", file=sys.stderr)
    best = median(seconds["muster"])
    print(f"muster-schedule {best / ideal:.3f} times-ideal ratio={best / median(seconds['load']):.2f}")


if __name__ == "__main__":
    main()
