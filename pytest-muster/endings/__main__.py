"""`python -m endings`: random endings, several at once. A wrong one can be repeated: `SEED=n python -m endings`."""

import argparse
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from endings.judging import judge
from endings.running import Seen, clean_up, run_case
from endings.ways import Case, Way, a_case


def main() -> int:
    parser = argparse.ArgumentParser(prog="endings", description=__doc__)
    parser.add_argument("--count", type=int, default=300, help="how many endings (300)")
    parser.add_argument("--jobs", type=int, default=4, help="how many at once (4)")
    parser.add_argument("--first", type=int, help="the first seed; random otherwise")
    parser.add_argument("--keep", action="store_true", help="keep the files of every case, not only of wrong ones")
    arguments = parser.parse_args()
    seed = os.environ.get("SEED")
    first = int(seed) if seed else arguments.first
    if first is None:
        first = int.from_bytes(os.urandom(3)) // len(Way) * len(Way)
    count = 1 if seed else arguments.count
    root = Path(tempfile.mkdtemp(prefix="endings-"))
    began = time.monotonic()
    say(f"{count} endings, seeds {first} to {first + count - 1}, {arguments.jobs} at once")
    with ThreadPoolExecutor(arguments.jobs) as pool:
        cases = [a_case(first + number) for number in range(count)]
        results = [pool.submit(check_case, case, root, keep=arguments.keep) for case in cases]
        wrong = [case for case in (result.result() for result in results) if case]
    say("")
    for way, number in Counter(a_case(first + number).way for number in range(count)).items():
        bad = sum(case.way is way for case in wrong)
        say(f"{number:4} {way}" + (f": {bad} wrong" if bad else ""))
    if not wrong and not arguments.keep:
        clean_up(root)
    say(f"took {time.monotonic() - began:.0f} s")
    say(f"{count} endings, {len(wrong)} wrong")
    return 1 if wrong else 0


def check_case(case: Case, root: Path, *, keep: bool) -> Case | None:
    """Run a case, report it, and return it if it was wrong."""
    directory = root / str(case.seed)
    seen = run_case(case, directory)
    problems = judge(case, seen)
    say("\n".join([_title(case, seen), *_report(case, seen, problems, directory)]))
    if not problems and not keep:
        clean_up(directory)
    return case if problems else None


def _title(case: Case, seen: Seen) -> str:
    suite = case.suite
    size = f"-n {suite.workers}, {len(suite.shared)} shared, {len(suite.own)} own, {len(suite.tests)} tests"
    return f"seed {case.seed}: {case.way} ({size}): exit {seen.code}"


def _report(case: Case, seen: Seen, problems: list[str], directory: Path) -> Iterator[str]:
    if problems:
        yield from (f"  WRONG: {problem}" for problem in problems)
        yield f"  repeat: SEED={case.seed} make muster-endings; files in {directory}"
        if seen.struck:
            before = sum(line.at < seen.struck for line in seen.told)
            yield f"  struck after {before} lines of the log"
        yield from (f"  told {line.at:.3f} {line.event} {line.name} {line.pid}" for line in seen.told)
        yield from (f"  | {line}" for line in seen.output.splitlines()[-40:])


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
