"""Writes small suites: shared resources of every kind, worker resources, tests. They tell a log what they do."""

import random
from dataclasses import dataclass, replace
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Resource:
    name: str
    needs: tuple[str, ...] = ()
    is_async: bool = False
    has_process: bool = False
    has_directory: bool = False
    has_command: bool = False
    set_up: float = 0.0
    tear_down: float = 0.0
    fails: str = ""
    """`set-up`, `teardown` or nothing."""


@dataclass(frozen=True, kw_only=True)
class WorkerResource:
    name: str
    needs: tuple[str, ...] = ()
    has_process: bool = False
    set_up: float = 0.0
    tear_down: float = 0.0
    dies: str = ""
    """Where the first worker to come there kills itself: `set-up`, `teardown` or nowhere."""


@dataclass(frozen=True, kw_only=True)
class Test:
    __test__ = False

    name: str
    needs: tuple[str, ...]
    takes: float
    has_place: bool = False
    does: str = "pass"
    """The last statement of its body."""


@dataclass(frozen=True, kw_only=True)
class Suite:
    workers: int
    shared: tuple[Resource, ...]
    own: tuple[WorkerResource, ...]
    tests: tuple[Test, ...]

    @property
    def events(self) -> int:
        """About how many lines a whole run tells."""
        return 5 * len(self.shared) + 2 * len(self.tests) + 4 * max(self.workers, 1) * len(self.own)


OBSERVED = '''
"""Tells a log outside what happens; each line at once, so that it is there whatever comes next."""

import os
import time

_log = os.open(os.environ["ENDINGS_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)


def tell(event, name):
    os.write(_log, f"{time.time():.6f} {event} {name} {os.getpid()}\\n".encode())


def die_once(where):
    try:
        os.close(os.open(where, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return
    os.kill(os.getpid(), 9)
'''


def a_suite(rng: random.Random, *, least_workers: int = 0) -> Suite:
    workers = max(rng.choice([0, 1, 2, 2, 2, 2, 3, 4]), least_workers)
    shared: list[Resource] = []
    for number in range(rng.choice([0, 1, 1, 2, 2, 3])):
        known = [resource.name for resource in shared]
        shared.append(
            Resource(
                name=f"shared{number}",
                needs=tuple(name for name in known if rng.random() < 0.4),
                is_async=rng.random() < 0.4,
                has_process=rng.random() < 0.5,
                has_directory=rng.random() < 0.5,
                has_command=rng.random() < 0.5,
                set_up=rng.choice([0.0, 0.02, 0.1, 0.3]),
                tear_down=rng.choice([0.0, 0.02, 0.1, 0.3]),
            )
        )
    names = [resource.name for resource in shared]
    own = [
        WorkerResource(
            name=f"own{number}",
            needs=tuple(name for name in names if rng.random() < 0.5),
            has_process=rng.random() < 0.5,
            set_up=rng.choice([0.0, 0.05, 0.2]),
            tear_down=rng.choice([0.0, 0.05, 0.2]),
        )
        for number in range(rng.choice([0, 1, 1, 2]))
    ]
    names += [resource.name for resource in own]
    tests = [
        Test(
            name=f"test_{number:02}",
            needs=tuple(name for name in names if rng.random() < 0.7),
            takes=rng.choice([0.0, 0.01, 0.03, 0.1, 0.3]),
            has_place=rng.random() < 0.2,
        )
        for number in range(rng.randint(max(3, workers), 14))
    ]
    return Suite(workers=workers, shared=tuple(shared), own=tuple(own), tests=tuple(tests))


def with_failures(suite: Suite, rng: random.Random, count: int) -> Suite:
    chosen = rng.sample(range(len(suite.tests)), min(count, len(suite.tests)))
    return _changed(suite, chosen, "raise AssertionError('planted')")


def with_death(suite: Suite, rng: random.Random, how: str) -> Suite:
    return _changed(suite, [rng.randrange(len(suite.tests))], how)


def _changed(suite: Suite, chosen: list[int], does: str) -> Suite:
    tests = [replace(test, does=does) if number in chosen else test for number, test in enumerate(suite.tests)]
    return replace(suite, tests=tuple(tests))


def with_failing_resource(suite: Suite, rng: random.Random, where: str) -> Suite:
    """One shared resource fails; some test needs it."""
    shared = list(suite.shared) or [Resource(name="shared0")]
    number = rng.randrange(len(shared))
    shared[number] = replace(shared[number], fails=where)
    tests = list(suite.tests)
    tests[0] = replace(tests[0], needs=tuple({*tests[0].needs, shared[number].name}))
    return replace(suite, shared=tuple(shared), tests=tuple(tests))


def with_dying_worker(suite: Suite, rng: random.Random, where: str) -> Suite:
    """One worker resource kills its worker, once; some test needs it."""
    own = list(suite.own) or [WorkerResource(name="own0", set_up=0.05, tear_down=0.05)]
    number = rng.randrange(len(own))
    own[number] = replace(own[number], dies=where)
    tests = [replace(test, needs=tuple({*test.needs, own[number].name})) for test in suite.tests]
    return replace(suite, own=tuple(own), tests=tuple(tests))


def write(suite: Suite, directory: Path) -> None:
    """The files of the suite."""
    directory.mkdir(parents=True)
    (directory / "pytest.ini").write_text(
        "[pytest]\naddopts = -p no:cacheprovider --import-mode=importlib\npythonpath = .\n"
    )
    (directory / "observed.py").write_text(OBSERVED)
    head = (
        "import asyncio\nimport sys\nimport time\nimport pytest_muster as muster\nfrom observed import die_once, tell\n"
    )
    parts = [head, *map(_shared, suite.shared), *map(_own, suite.own)]
    (directory / "conftest.py").write_text("\n\n".join(parts))
    tests = ["import os\nimport time\nfrom observed import tell\n", *map(_test, suite.tests)]
    (directory / "test_suite.py").write_text("\n\n".join(tests))


def _shared(resource: Resource) -> str:
    name = resource.name
    wait = "await asyncio.sleep" if resource.is_async else "time.sleep"
    until = "await muster_run.wait_until_async" if resource.is_async else "muster_run.wait_until"
    body = [f"tell('setup-begin', {name!r})"]
    if resource.has_command:
        body.append(f"muster_run.on_sweep([sys.executable, '-c', {_command(name)!r}])")
        body.append(f"tell('registered', {name!r})")
    if resource.has_process:
        body.append(f"process = muster_run.start(['sh', '-c', 'echo up; exec sleep 300'], log='{name}.log')")
        body.append(f"{until}(process.tail, description='{name} is up')")
    if resource.has_directory:
        body.append("(muster_run.directory / 'file').write_text('x')")
    body.append(f"{wait}({resource.set_up})")
    if resource.fails == "set-up":
        body.append("raise RuntimeError('planted in set-up')")
    body += [f"tell('setup-end', {name!r})", f"yield {_value(name)}", f"tell('teardown-begin', {name!r})"]
    body.append(f"{wait}({resource.tear_down})")
    if resource.fails == "teardown":
        body.append("raise RuntimeError('planted in teardown')")
    body.append(f"tell('teardown-end', {name!r})")
    parameters = ", ".join(["muster_run", *resource.needs])
    return f"@muster.shared\n{'async ' if resource.is_async else ''}def {name}({parameters}):\n" + _indented(body)


def _value(name: str) -> str:
    return f"{{'name': {name!r}}}"


def _command(name: str) -> str:
    return f"from observed import tell; tell('swept', {name!r})"


def _own(resource: WorkerResource) -> str:
    name = resource.name
    body = [f"tell('worker-setup-begin', {name!r})"]
    if resource.has_process:
        body.append("muster_worker.start(['sleep', '300'])")
        body.append("(muster_worker.directory / 'file').write_text('x')")
    body.append(f"time.sleep({resource.set_up})")
    if resource.dies == "set-up":
        body.append("die_once('died')")
    body += [f"tell('worker-setup-end', {name!r})", f"yield {_value(name)}", f"tell('worker-teardown-begin', {name!r})"]
    body.append(f"time.sleep({resource.tear_down})")
    if resource.dies == "teardown":
        body.append("die_once('died')")
    body.append(f"tell('worker-teardown-end', {name!r})")
    return f"@muster.worker\ndef {name}({', '.join(['muster_worker', *resource.needs])}):\n" + _indented(body)


def _test(test: Test) -> str:
    body = [f"tell('test-begin', {test.name!r})"]
    body += [f"assert {need} == {_value(need)}" for need in sorted(test.needs)]
    if test.has_place:
        body.append("muster_test.start(['sleep', '300'], cwd=muster_test.directory)")
    body += [f"time.sleep({test.takes})", f"tell('test-end', {test.name!r})", test.does]
    parameters = ", ".join([*(["muster_test"] if test.has_place else []), *sorted(test.needs)])
    return f"def {test.name}({parameters}):\n" + _indented(body)


def _indented(body: list[str]) -> str:
    return "".join(f"    {line}\n" for line in body)
