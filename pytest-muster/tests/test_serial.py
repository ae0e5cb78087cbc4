"""Serial tests run alone in real runs, also when workers die, also with one worker and with nothing else to run."""

import pytest

SUITE = """
    import os, time, pytest

    DYING = os.environ.get("DYING", "").split()

    @pytest.fixture(autouse=True)
    def span(request):
        name, began = request.node.name, time.time()
        if name in DYING:
            os._exit(9)
        yield
        with open(os.environ["LOG"], "a") as log:
            log.write(f"{name} {began!r} {time.time()!r}\\n")

    @pytest.mark.parametrize("number", range(PARALLEL))
    def test_beside(number):
        time.sleep(0.002 * (number % 7))

    @pytest.mark.serial
    @pytest.mark.parametrize("number", range(SERIAL))
    def test_alone(number):
        time.sleep(0.005)
"""


def write(nested, *, parallel: int, serial: int) -> None:
    nested.write("test_model.py", SUITE.replace("PARALLEL", str(parallel)).replace("SERIAL", str(serial)))


def overlaps(log):
    """Pairs of a serial test and another one that ran at the same time."""
    spans = [(name, float(began), float(ended)) for name, began, ended in map(str.split, log)]
    return [
        (one, other)
        for one, began, ended in spans
        if one.startswith("test_alone")
        for other, other_began, other_ended in spans
        if one != other and began < other_ended and other_began < ended
    ]


def test_20_serial_ones_of_200_overlap_with_nothing_on_4_workers(nested):
    write(nested, parallel=180, serial=20)

    done = nested.run("-n", "4")

    assert done.code == 0, done.out
    assert len(done.log) == len(done.of("test")) == 200
    assert overlaps(done.log) == []
    assert {line["slot"] for line in done.of("test", serial=True)} == {1}


def test_nor_do_they_when_workers_die(nested):
    write(nested, parallel=180, serial=20)

    done = nested.run("-n", "4", DYING="test_beside[90] test_beside[171] test_alone[7]")

    assert done.code == 1, done.out
    assert "Ran 200 of 200 Specs" in done.out
    assert "197 Passed | 3 Failed" in done.out
    assert len(set(done.log)) == len(done.log) == 197
    assert overlaps(done.log) == []


@pytest.mark.parametrize(("workers", "parallel", "serial"), [(3, 0, 4), (1, 4, 3), (3, 5, 1)])
def test_every_mixture_runs_to_its_end(nested, workers, parallel, serial):
    write(nested, parallel=parallel, serial=serial)

    done = nested.run("-n", str(workers), "-q")

    assert f"{parallel + serial} Passed | 0 Failed" in done.out  # an empty set of parameters is one skipped test
    assert overlaps(done.log) == []


def test_after_a_first_failure_no_held_serial_test_begins(nested):
    nested.write(
        "test_model.py",
        """
        import os, time, pytest

        def test_slow():
            time.sleep(1.0)

        def test_fails():
            time.sleep(0.3)
            assert False

        @pytest.mark.serial
        def test_alone():
            open("ran", "w").close()
        """,
    )

    done = nested.run("-n", "2", "-x")

    assert done.code != 0
    assert not (nested.directory / "ran").exists()


def test_another_way_to_distribute_is_refused(nested):
    write(nested, parallel=2, serial=2)

    done = nested.run("-n", "2", "--dist", "loadfile")

    assert done.code == pytest.ExitCode.USAGE_ERROR
    assert "test_alone[0] and 1 more are marked serial, which --dist loadfile does not know" in done.out


def test_unless_the_scheduler_is_switched_off(nested):
    write(nested, parallel=2, serial=2)

    done = nested.run("-n", "2", "--dist", "loadfile", "--muster-scheduler=off")

    assert done.code == 0
    assert "may run beside others" in done.out
