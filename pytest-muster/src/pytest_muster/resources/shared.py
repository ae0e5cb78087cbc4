"""Keeps the shared resources of a run, in the process that owns it: starts them, hands out their values, stops them.

They start after collection and before the first test, side by side where they do not depend on each other, and stop in
reverse order after the last worker is gone. One that fails to start cancels the others; no test runs then.
"""

import contextlib
import importlib
import importlib.util
import json
import os
import sys
import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, wait
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from pytest_muster import hooks
from pytest_muster.records import journal
from pytest_muster.records.run import Role, Run, run_of
from pytest_muster.resources import declarations, lifecycle
from pytest_muster.resources.declarations import PLACE_OF_THE_RUN, Declaration
from pytest_muster.resources.lifecycle import Late, Life, Loop
from pytest_muster.workspace.workspace import NotReady, Place, run_place

CANCEL_WITHIN = 1.0
"""Seconds for a set-up or teardown to end after it was cancelled; then it is left behind."""


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """Something went wrong with a resource: what people read of it."""

    title: str
    text: str
    name: str


class SetUpFailed(Exception):
    """A shared resource did not come up."""

    def __init__(self, trouble: Trouble) -> None:
        super().__init__(trouble.title)
        self.trouble = trouble


@dataclass(frozen=True, kw_only=True)
class Kept:
    """A shared resource with its place."""

    life: Life
    place: Place

    @property
    def name(self) -> str:
        return self.life.declaration.name

    @property
    def tail(self) -> str:
        """The ends of the logs of its processes."""
        tails = {process.log: process.tail() for process in self.place.processes}
        return "\n".join(f"{log.name}: {line}" for log, tail in tails.items() for line in tail.splitlines())


class Keeper:
    def __init__(self, run: Run) -> None:
        self.run = run
        self.values: dict[str, Any] = {}
        self.skipped: dict[str, str] = {}
        """Those whose set-up skipped, or that depend on one that did, and why."""
        self._secrets: Place | None = None
        self.up: list[Kept] = []
        """Those whose set-up has finished, in the order in which it did."""
        self.troubles: list[Trouble] = []
        self._starting: list[Kept] = []
        self.loop = Loop()
        self.began = False
        self.failed = False
        """Whether a set-up has failed."""
        self._ended = False

    @property
    def starting(self) -> list[str]:
        """Whose set-up runs now."""
        return [kept.name for kept in self._starting]

    def start(self, declarations: Sequence[Declaration]) -> None:
        """Start them all. Raises SetUpFailed with the first failure; what is up then stays up until `stop`."""
        if self.began:
            return
        self.began = True
        began = time.time()
        waiting = list(declarations)
        try:
            while waiting or self._starting:
                for declaration in list(waiting):
                    without = [parameter for parameter in declaration.parameters if parameter in self.skipped]
                    if without:
                        self.skipped[declaration.name] = self.skipped[without[0]]
                    elif all(p in self.values or p == PLACE_OF_THE_RUN for p in declaration.parameters):
                        self._begin(declaration)
                    else:
                        continue
                    waiting.remove(declaration)
                if self._starting:
                    self._await_next()
        except BaseException:
            for kept in self._starting:
                kept.life.cancel()
            raise
        finally:
            self.run.journal.write("phase", name="shared set-up", start=began, stop=time.time())
        self._publish()

    def _begin(self, declaration: Declaration) -> None:
        place = run_place(self.run)
        values = {**json.loads(json.dumps(self.values)), PLACE_OF_THE_RUN: place}
        arguments = {parameter: values[parameter] for parameter in declaration.parameters}
        kept = Kept(life=Life(declaration, arguments, self.loop), place=place)
        self._starting.append(kept)
        self._write(kept, "starting")
        kept.life.begin()

    def _await_next(self) -> None:
        """Wait until at least one set-up is over, and put those that are over where they belong."""
        soonest = min(kept.life.began + kept.life.declaration.within for kept in self._starting)
        futures = {kept.life.ready: kept for kept in self._starting}
        done, _ = wait(futures, timeout=max(0.0, soonest - time.monotonic()), return_when=FIRST_COMPLETED)
        for kept in [futures[future] for future in done]:
            self._accept(kept)
        if not done:
            late = next(k for k in self._starting if k.life.began + k.life.declaration.within <= soonest)
            error = Late.of(late.life.declaration, "up", late.life.where())
            raise self._failed(late, error)

    def _accept(self, kept: Kept) -> None:
        error = kept.life.ready.exception()
        if isinstance(error, pytest.skip.Exception):
            self._starting.remove(kept)
            self.skipped[kept.name] = str(error)
            self._write(kept, "skipped", error=str(error))
            self._close(kept, keep_commands=False)
            return
        if error:
            raise self._failed(kept, error)
        self.up.append(kept)  # before it leaves the others: a signal may break this off anywhere
        self._starting.remove(kept)
        try:
            self.values[kept.name] = declarations.plain(kept.name, kept.life.ready.result())
        except declarations.NotPlain as not_plain:
            raise self._failed(kept, not_plain) from None
        self.run.journal.mask.learn(self.values[kept.name])
        self._write(kept, "ready", took=time.monotonic() - kept.life.began)

    def _failed(self, kept: Kept, error: BaseException) -> SetUpFailed:
        took = time.monotonic() - kept.life.began
        self._write(kept, "failed", took=took, error=words(error), tail=kept.tail)
        trouble = self._trouble(kept, "shared set-up", error)
        self.troubles.append(trouble)
        self.failed = True
        return SetUpFailed(trouble)

    def _trouble(self, kept: Kept, phase: str, error: BaseException) -> Trouble:
        declaration = kept.life.declaration
        text = f"{declaration.place}\n{lifecycle.shown(error)}"
        if kept.tail and not isinstance(error, NotReady):
            text += f"\nends of its logs:\n{kept.tail}"
        return Trouble(title=f"{phase} of {declaration.name}", text=text, name=declaration.name)

    def _publish(self) -> None:
        """Let workers read the values; also those that come later. Only this user may."""
        file = values_file(self.run)
        self._secrets = run_place(self.run)
        self._secrets.on_sweep(["rm", "-f", file])  # if this run is killed, so that no password stays
        part = file.with_suffix(".part")
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as out:
            json.dump({"values": self.values, "skipped": self.skipped}, out)
        part.replace(file)

    def stop(self) -> Iterator[str]:
        """Tear down what is up, in reverse order, each within its time; yields each name before its teardown.

        Never raises: what goes wrong is among `troubles`. What was cut off in its set-up comes first.
        """
        if self._ended:
            return
        self._ended = True
        began = time.time()
        self._settle()
        had = bool(self.up)
        while self.up:
            kept = self.up.pop()
            yield kept.name
            self._end(kept)
        self.loop.close()
        with contextlib.suppress(FileNotFoundError):
            values_file(self.run).unlink()
        if self._secrets:
            self._secrets.close()
        if had:
            self.run.journal.write("phase", name="shared teardown", start=began, stop=time.time())

    def _settle(self) -> None:
        for kept in self._starting:
            kept.life.cancel()
        wait([kept.life.ready for kept in self._starting], timeout=CANCEL_WITHIN)
        for kept in self._starting:
            ready = kept.life.ready
            if kept in self.up:
                continue
            if ready.done() and not ready.exception():
                self.up.append(kept)
                continue
            kept.life.end()  # if its set-up ends after all, its teardown follows at once
            if kept.name not in [trouble.name for trouble in self.troubles]:
                self._write(kept, "cancelled")
            self._close(kept, keep_commands=True)  # there is no teardown for what it has made
        self._starting.clear()

    def _end(self, kept: Kept) -> None:
        began = time.monotonic()
        self._write(kept, "stopping")
        kept.life.end()
        wait([kept.life.over], timeout=kept.life.declaration.within)
        error: BaseException | None
        if kept.life.over.done():
            error = kept.life.over.exception()
        else:
            error = Late.of(kept.life.declaration, "torn down", kept.life.where())
            kept.life.cancel()
            wait([kept.life.over], timeout=CANCEL_WITHIN)
        if error:
            self.troubles.append(self._trouble(kept, "shared teardown", error))
        closing = self._close(kept, keep_commands=error is not None)
        took = time.monotonic() - began
        wrong = error or closing
        self._write(
            kept, "stopped", took=took, **({"ok": False, "error": words(wrong), "tail": kept.tail} if wrong else {})
        )

    def _close(self, kept: Kept, *, keep_commands: bool) -> Exception | None:
        try:
            kept.place.close(keep_commands=keep_commands)
        except Exception as error:  # noqa: BLE001 - the others still have to be torn down
            self.troubles.append(self._trouble(kept, "shared teardown", error))
            return error
        return None

    def _write(self, kept: Kept, event: str, **fields: object) -> None:
        self.run.journal.write(
            "resource", name=kept.name, scope="shared", worker=self.run.worker, event=event, **fields
        )


def words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


_KEEPER = pytest.StashKey[Keeper]()
_READ = pytest.StashKey[dict[str, Any]]()


def values_file(run: Run) -> Path:
    return run.directory / "shared.json"


def value_of(config: pytest.Config, declaration: Declaration) -> Any:
    """What a shared resource published. Fails the test that could not be seen to need it."""
    values, skipped = _published(config)
    if declaration.name in skipped:
        pytest.skip(skipped[declaration.name])
    try:
        return values[declaration.name]
    except KeyError:
        pytest.fail(
            f"shared resource {declaration.name!r} at {declaration.place} was not started, because no collected test "
            "and no fixture that one uses names it as a parameter: name it as a parameter, also in "
            "@pytest.mark.usefixtures, or declare it with @muster.shared(always=True)",
            pytrace=False,
        )


def _published(config: pytest.Config) -> tuple[dict[str, Any], dict[str, str]]:
    """The values, and who skipped why, in whatever process this is."""
    run = run_of(config)
    if run.owns_shared:
        keeper = keeper_of(config)
        return keeper.values, keeper.skipped
    if _READ not in config.stash:
        file = values_file(run)
        config.stash[_READ] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    return config.stash[_READ].get("values", {}), config.stash[_READ].get("skipped", {})


def keeper_of(config: pytest.Config) -> Keeper:
    """The keeper of the process that owns the run."""
    return config.stash.setdefault(_KEEPER, Keeper(run_of(config)))


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    pluginmanager.add_hookspecs(hooks)


def wanted(items: Iterable[pytest.Item]) -> dict[str, Any]:
    """What the `collected` line says of shared resources: which are needed, and which file declares each."""
    known = declarations.declared()
    names = {name for item in items for name in getattr(item, "fixturenames", ()) if name in known}
    return {"shared": sorted(names), "declared": {name: str(found.file) for name, found in known.items()}}


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> None:
    config = session.config
    option = config.option
    if run_of(config).role is not Role.ALONE or option.collectonly or getattr(option, "setupplan", False):
        return
    if session.items and (not session.testsfailed or option.continue_on_collection_errors):
        start_needed(config, wanted(session.items)["shared"])


@pytest.hookimpl(wrapper=True, optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config) -> Generator[None, Any, Any]:
    """Whatever scheduler it is: when all workers have collected, and before it hands out the first test."""
    scheduler = yield
    schedule = scheduler.schedule

    def schedule_after_start() -> None:
        start_collected(config)
        schedule()

    scheduler.schedule = schedule_after_start
    return scheduler


def start_collected(config: pytest.Config) -> None:
    """Start what the workers say that their tests need, unless that has been done."""
    if keeper_of(config).began:
        return
    names: set[str] = set()
    files: dict[str, str] = {}
    for file in sorted((run_of(config).directory / "workers").glob("*.jsonl")):
        for line in journal.lines(file, only="collected"):
            names.update(line["shared"])
            files.update(line["declared"])
    for name, declared_in in files.items():
        if name not in declarations.declared():
            _import(Path(declared_in), config.getoption("importmode"))
    start_needed(config, names)


def start_needed(config: pytest.Config, names: Iterable[str]) -> None:
    """Start the named shared resources, what they depend on, and those that always start; ends the run on a failure."""
    keeper = keeper_of(config)
    try:
        wanted = declarations.needed(names, declarations.declared())
    except declarations.DeclarationError as error:
        raise pytest.UsageError(str(error)) from None
    if keeper.began or not wanted:
        return
    try:
        keeper.start(wanted)
    except SetUpFailed as failed:
        pytest.exit(f"{failed.trouble.title} failed, so no test was run")
    config.hook.pytest_muster_shared_ready(config=config, values=json.loads(json.dumps(keeper.values)))


def _import(file: Path, mode: str) -> None:
    """Import a conftest.py, or another file, of which only workers have had to know so far.

    As pytest does it: a package's file under its dotted name, another one with its directory on `sys.path`.
    """
    top = file.parent
    names = [] if file.stem == "__init__" else [file.stem]
    while (top / "__init__.py").exists():
        names.insert(0, top.name)
        top = top.parent
    if mode != "importlib" and str(top) not in sys.path:
        sys.path.insert(0, str(top))
    if len(names) > 1:
        importlib.import_module(".".join(names))
        return
    name = f"muster_{file.stem}_{sha256(str(file).encode()).hexdigest()[:8]}"
    specification = importlib.util.spec_from_file_location(name, file)
    if specification is None or specification.loader is None:
        raise declarations.DeclarationError(f"{file} declares a shared resource, but cannot be imported as Python")
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module
    specification.loader.exec_module(module)
