"""The plugin beside others, and on every pytest that it supports: what users have is more than pytest and xdist."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from xml.etree import ElementTree

import pytest

CONFTEST = """
import pytest
import pytest_muster as muster

@muster.shared
def counted(muster_run):
    log = muster_run.directory.parent / f"{muster_run.run}.log"
    yield {"log": str(log)}
    log.unlink(missing_ok=True)

@pytest.fixture
def breaks_at_the_end():
    yield
    raise RuntimeError("not torn down")
"""

OUTCOMES = """
import pytest
import pytest_muster as muster

def test_passes(counted): pass
def test_fails(): assert 1 == 2
def test_skips(): pytest.skip("not today")
@muster.pending("not yet")
def test_is_pending(): raise AssertionError
@pytest.mark.xfail(reason="known")
def test_is_expected_to_fail(): assert False
def test_is_not_torn_down(breaks_at_the_end): pass
def test_has_no_set_up(no_such_fixture): pass
@muster.worker
def broken(): raise OSError("no server here")
def test_lacks_its_environment(broken): pass
@muster.serial
def test_is_alone(): pass
"""

OTHERS = """
import asyncio
import time
import pytest

def covered(n):
    if n > 100:
        return "many"
    return "few"

@pytest.mark.parametrize("n", [1, 1000])
def test_covered(n, counted):
    assert covered(n) in ("few", "many")

@pytest.mark.asyncio
async def test_async(counted):
    await asyncio.sleep(0)

@pytest.mark.timeout(0.2)
def test_too_slow():
    time.sleep(20)
"""

PROPERTY = """
from hypothesis import given, strategies

@given(strategies.integers())
def test_numbers(number):
    assert number == int(str(number))
"""


@pytest.fixture
def run(tmp_path):
    """Run pytest in a project of its own."""
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "pytest.ini").write_text("[pytest]\nasyncio_default_fixture_loop_scope = function\n")

    def run(*options: str, **files: str) -> subprocess.CompletedProcess[str]:
        for name, text in files.items():
            (tmp_path / f"{name}.py").write_text(text)
        env = {
            name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_XDIST", "MUSTER", "COV_"))
        }
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *options]
        return subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=100, check=False)

    return run


@pytest.mark.parametrize("workers", ["0", "2"])
def test_junit_has_every_outcome(run, tmp_path, workers):
    done = run("-n", workers, "--junitxml=out.xml", test_outcomes=OUTCOMES)

    suite = ElementTree.parse(tmp_path / "out.xml").getroot().find("testsuite")  # noqa: S314 - we have written it
    kinds = {}
    for case in suite.iter("testcase"):
        kinds.setdefault(case.get("name"), []).extend(child.tag for child in case if child.tag.islower())
    assert done.returncode == 1
    assert {name: [tag for tag in tags if not tag.startswith("system")] for name, tags in kinds.items()} == {
        "test_passes": [],
        "test_fails": ["failure"],
        "test_skips": ["skipped"],
        "test_is_pending": ["skipped"],
        "test_is_expected_to_fail": ["skipped"],
        "test_is_not_torn_down": ["error"],
        "test_has_no_set_up": ["error"],
        "test_lacks_its_environment": ["error"],
        "test_is_alone": [],
    }
    assert "| 1 Pending | 1 Skipped | 1 Infrastructure" in done.stdout


@pytest.mark.parametrize("randomly", [(), ("-p", "no:randomly")])
def test_other_plugins_do_their_work(run, tmp_path, randomly):
    if randomly and not find_spec("pytest_randomly"):
        pytest.skip("pytest-randomly is not there to be left out")
    files = {"test_others": OTHERS}
    if find_spec("hypothesis"):
        files["test_property"] = PROPERTY
    cov = ("--cov=.", "--cov-report=term-missing") if find_spec("pytest_cov") else ()

    done = run("-n", "2", *randomly, *cov, **files)

    assert done.returncode == 1, done.stdout
    assert re.search(rf"1 failed, {2 + len(files)} passed", done.stdout), done.stdout
    assert "Timeout" in done.stdout
    if cov:
        # Each branch ran on whichever worker had it; only what the time-out cut off is missing.
        assert re.search(r"test_others\.py +\d+ +0 +100%", done.stdout), done.stdout


def test_a_worker_inherits_no_warnings_as_errors(run):
    done = run("-n", "1", "-W", "error", test_one="def test_one(counted, muster_test): muster_test.port()\n")

    assert done.returncode == 0, done.stdout + done.stderr


def test_the_plugin_can_be_left_out(run, tmp_path):
    (tmp_path / "conftest.py").unlink()

    done = run("-p", "no:muster", "-n", "1", test_one="def test_one(): pass\n")

    assert done.returncode == 0, done.stdout + done.stderr
    assert not Path(tmp_path / ".muster").exists()


def test_observing_a_test_asks_no_clock_that_the_test_has_replaced(nested):
    """Libraries that move time count how often it is asked: with time-machine the first call starts its clock."""
    nested.write(
        "test_it.py",
        """
        import os, socket, subprocess, threading, time
        from pathlib import Path

        def test_it(monkeypatch, tmp_path):
            asked = []
            for name in ("time", "monotonic"):
                monkeypatch.setattr(time, name, lambda name=name: asked.append(name) or 0.0)
            os.environ["A_NAME_OF_THIS_TEST"] = "value"
            os.environ.pop("A_NAME_OF_THIS_TEST")
            Path(tmp_path, "file").write_text("text")
            with socket.socket() as server:
                server.bind(("127.0.0.1", 0))
            thread = threading.Thread(target=print)
            thread.start()
            thread.join()

            assert asked == []
        """,
    )
    assert nested.run("-n", "0").code == 0


@pytest.mark.parametrize("option", ["--ff", "--sw"])
def test_an_order_that_was_asked_for_comes_before_the_longest_first(nested, option):
    nested.write(
        "test_it.py",
        """
        import time

        def test_quick():
            pass

        def test_quick_and_fails():
            assert 0

        def test_slow():
            time.sleep(0.2)
        """,
    )
    nested.run("-n1", "-p", "cacheprovider")

    done = nested.run("-n1", "-p", "cacheprovider", option)

    begun = sorted(done.of("started"), key=lambda line: line["order"])
    assert begun[0]["test"] == {"--ff": "test_it.py::test_quick_and_fails", "--sw": "test_it.py::test_quick"}[option]


def test_text_that_is_not_utf_8_ends_no_worker(nested):
    nested.write(
        "test_it.py",
        r"""
        import os
        import threading
        import pytest

        def test_a_file():
            open("no-such-\udcff")

        def test_a_message():
            raise ValueError("\udcff")

        def test_a_skip():
            pytest.skip("\udcff")

        def test_leaks(request, tmp_path):
            os.environb[b"NAME_\xff"] = b"value"
            request.config.left = open(os.fsencode(tmp_path) + b"/\xff", "wb")
            threading.Thread(target=threading.Event().wait, name="\udcff", daemon=True).start()
        """,
    )

    done = nested.run("-n1", "--muster-leaks=fail")

    assert done.code == 1, done.out
    assert "INTERNALERROR" not in done.out
    assert r"threads: \udcff, a daemon" in done.out
    outcomes = {line["test"].partition("::")[2]: line["outcome"] for line in done.of("test")}
    assert outcomes == {
        "test_a_file": "failed",
        "test_a_message": "failed",
        "test_a_skip": "skipped",
        "test_leaks": "failed",
    }
    error = next(line["error"] for line in done.of("test") if line["test"].endswith("test_a_file"))
    assert error["address"] == r"no-such-\udcff"


STRANGER = """
import logging
import unittest
import pytest

def documented():
    \"\"\"
    >>> documented()
    1
    \"\"\"
    return 2

@pytest.fixture
def breaks_at_the_end():
    yield
    raise RuntimeError("not torn down")

class TestCase(unittest.TestCase):
    @classmethod
    def setUpClass(cls): cls.number = 1
    def test_passes(self): self.assertEqual(self.number, 1)
    def test_fails(self): self.assertEqual(self.number, 2)
    @unittest.expectedFailure
    def test_is_expected_to_fail(self): self.fail()
    def test_has_parts(self):
        for number in range(2):
            with self.subTest(number=number):
                self.assertEqual(number, 0)

class TestWithoutSetUp(unittest.TestCase):
    @classmethod
    def setUpClass(cls): raise OSError("no server here")
    def test_does_not_run(self): pass

def test_exits(): raise SystemExit(3)
def test_is_not_torn_down(breaks_at_the_end): assert 0
def test_logs(caplog):
    logging.warning("once")
    assert [record.getMessage() for record in caplog.records] == ["once"]
@pytest.mark.xdist_group("one")
@pytest.mark.parametrize("name", ["a", "b"])
def test_is_in_a_group(name, capsys):
    print(name)
    assert capsys.readouterr() == (name + "\\n", "")
"""


@pytest.mark.parametrize(
    "options",
    [
        "-n0 --doctest-modules",
        "-n0 --import-mode=importlib -p no:terminal",
        "-n0 --capture=sys --tb=native -p no:logging --deselect test_it.py::test_logs",
        "-n1 --dist=loadgroup",
    ],
)
def test_every_verdict_is_that_without_the_plugin(nested, options):
    nested.write("test_it.py", STRANGER)
    verdicts = []
    for left_out in (["-pno:muster"], []):
        done = nested.run(*options.split(), *left_out, "--junitxml=out.xml")
        suite = ElementTree.parse(nested.directory / "out.xml").getroot().find("testsuite")  # noqa: S314 - our own
        cases = sorted((case.get("classname"), case.get("name"), *(part.tag for part in case)) for case in suite)
        verdicts.append((done.code, cases))
        assert "INTERNALERROR" not in done.out

    assert verdicts[0] == verdicts[1]
    names = {line["test"] for line in done.of("test")}
    assert len(names) == len({(kind, name) for kind, name, *_ in verdicts[1][1]})


BROKEN_FIXTURES = """
import pytest

@pytest.fixture
def broken(): raise RuntimeError("no set-up")
@pytest.fixture
def breaks_at_the_end():
    yield
    raise RuntimeError("no teardown")
"""


@pytest.mark.parametrize("options", ["-n0", "-n1", "-n0 --tb=short", "-n1 --showlocals"])
def test_a_traceback_is_that_without_the_plugin(nested, options):
    """Also where pytest does not cut it by the file of the test: with fixtures of a conftest."""
    nested.write("conftest.py", BROKEN_FIXTURES)
    nested.write("test_it.py", "def test_one(broken): pass\ndef test_two(breaks_at_the_end): assert 0\n")
    shown = []
    for left_out in (["-pno:muster"], []):
        out = nested.run(*options.split(), *left_out, "--show-capture=no").out
        text = out[out.index("= ERRORS =") : out.index("= short test summary info =")]
        shown.append([line for line in text.splitlines() if "muster triage" not in line and "[gw0]" not in line])

    assert shown[0] == shown[1]


@pytest.mark.parametrize("arguments", ["no_such_file.py", "test_it.py::no_such_test", "-k no_such_test"])
@pytest.mark.parametrize("workers", ["-n0", "-n1", "-n2"])
def test_what_does_not_exist_ends_a_run_as_without_the_plugin(nested, workers, arguments):
    nested.write("test_it.py", "def test_one(): pass\n")
    codes = []
    for left_out in (["-pno:muster"], []):
        done = nested.run(workers, *left_out, *arguments.split())
        codes.append(done.code)
        assert "INTERNALERROR" not in done.out

    assert codes[0] == codes[1]
