"""What became of the specs: counted once each, over all workers, with an exit code to match."""

import pytest

from pytest_muster.exits import ExitCode

SUITE = """
    import pytest
    import pytest_muster as muster

    def test_passes():
        pass

    def test_fails():
        assert FAILS is False

    @muster.pending("the API is not there")
    def test_pending(no_such_fixture_is_asked_for=None):
        assert False

    @muster.pending("a whole class")
    class TestLater:
        def test_one(self): assert False
        def test_two(self): assert False

    def test_skips_itself():
        pytest.skip("not here")

    @pytest.mark.xfail
    def test_is_known_to_fail():
        assert False

    @pytest.mark.xfail(run=False)
    def test_is_not_even_tried():
        assert False

    @muster.serial
    def test_alone():
        pass

    @pytest.fixture
    def dirty():
        yield
        assert FAILS is False

    def test_whose_teardown_fails(dirty):
        pass
"""


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_the_summary_is_the_same_for_any_number_of_workers(nested, workers):
    nested.write("test_it.py", "FAILS = True\n" + SUITE.replace("\n    ", "\n"))

    done = nested.run("-q", "-n", str(workers), "--junitxml=junit.xml")

    *_, ran, verdict = done.out.rstrip().splitlines()
    assert done.code == 1
    assert ran.startswith("Ran 5 of 10 Specs in ")
    assert len(ran.split()[6].partition(".")[2]) == 3
    assert verdict == "FAIL! -- 3 Passed | 2 Failed | 3 Pending | 2 Skipped"
    assert done.of("end")[0]["counts"] == {"passed": 3, "failed": 2, "pending": 3, "skipped": 2}
    assert 'skipped="6"' in (nested.directory / "junit.xml").read_text()  # pending and expected failures, too


def test_a_green_run_says_so(nested):
    nested.write("test_it.py", "FAILS = False\n" + SUITE.replace("\n    ", "\n"))

    done = nested.run("-n", "0")

    assert done.code == 0
    assert done.out.rstrip().endswith("PASS! -- 5 Passed | 0 Failed | 3 Pending | 2 Skipped")
    assert "3 pending" in done.out


@pytest.mark.parametrize(("fails", "code"), [(False, ExitCode.INFRASTRUCTURE), (True, pytest.ExitCode.TESTS_FAILED)])
def test_a_failing_environment_has_an_exit_code_of_its_own(nested, fails, code):
    nested.write(
        "conftest.py",
        """
        import pytest

        @pytest.hookimpl(wrapper=True)
        def pytest_runtest_makereport(item):
            report = yield
            if report.failed and "environment" in item.name:
                report.muster = {**getattr(report, "muster", {}), "infrastructure": "the server is gone"}
            return report
        """,
    )
    nested.write("test_it.py", f"def test_environment():\n    assert 0\n\n\ndef test_it():\n    assert {not fails}\n")

    done = nested.run("-n", "1", "-q")

    failed = 1 if fails else 0
    assert done.code == code
    assert done.out.rstrip().endswith(
        f"{1 - failed} Passed | {failed} Failed | 0 Pending | 0 Skipped | 1 Infrastructure"
    )
    assert "1 infrastructure" in done.out
