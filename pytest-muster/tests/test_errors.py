"""An error tells what it was about, whatever its words are."""

import asyncio
import errno
import importlib
import json
import os
import socket
from pathlib import Path

import pytest

from pytest_muster.records.errors import describe
from pytest_muster.records.project import Project
from pytest_muster.records.reader import find, load
from pytest_muster.records.value_kinds import kind_of

PROJECT = Project(Path(__file__).parent)

client = None
registry: dict[str, object] = {}
settings = {"path": ""}
answers = ["yes"]


def described(function, *arguments):
    try:
        function(*arguments)
    except Exception as error:  # noqa: BLE001  # whatever it is, it is what the test is about
        return describe(error.with_traceback(error.__traceback__.tb_next), PROJECT)  # without this frame
    raise AssertionError("it was to fail")


def test_an_attribute_of_none_names_the_global_that_was_none():
    def use():
        return client.get("x")

    error = described(use)

    assert error["kind"] == "AttributeError"
    assert error["none"] is True
    assert error["none_names"] == ["client"]
    assert error["globals"] == {f"{__name__}.client": "None"}
    assert error["frames"][-1]["code"] == 'return client.get("x")'
    assert error["frames"][-1]["file"] == "test_errors.py"
    assert error["frames"][-1]["function"].endswith("use")


@pytest.mark.parametrize(
    "use",
    [
        lambda: client["x"],
        lambda: client(),
        lambda: [*client],
        lambda: len(client),
        lambda: client + 1,
        lambda: int(client),
    ],
)
def test_a_type_error_on_none_is_seen_in_what_was_evaluated(use):
    error = described(use)

    assert error["kind"] == "TypeError"
    assert error["none"] is True
    assert error["none_names"] == ["client"]


def test_a_type_error_of_other_values_is_not_about_none():
    timeout = None

    def add(one, other, wait):
        return one + other

    error = described(lambda: add(1, "a", wait=timeout))

    assert error["kind"] == "TypeError"
    assert error["none"] is False


def test_an_attribute_missing_in_an_object_is_not_about_none():
    error = described(lambda: answers.missing)

    assert error["none"] is False
    assert error["globals"] == {f"{__name__}.answers": "list of 1"}


def test_an_error_translated_by_a_library_is_still_about_none():
    class Broken(Exception):
        pass

    def use():
        try:
            client.get("x")
        except AttributeError as error:
            raise Broken("the shop is closed") from error

    error = described(use)

    assert error["kinds"] == ["Broken", "AttributeError"]
    assert error["none"] is True
    assert error["message"] == "the shop is closed"


def test_a_failed_assertion_names_what_was_none_in_it():
    def check():
        assert client is not None, "no connection"

    error = described(check)

    assert error["kind"] == "AssertionError"
    assert error["none"] is False
    assert error["none_names"] == ["client"]


def test_variables_of_another_module_of_the_project_are_named(tmp_path, monkeypatch):
    (tmp_path / "the_suite.py").write_text("client = None\ndef make(): pass\n")
    (tmp_path / "the_spec.py").write_text("import the_suite\ndef use():\n    return the_suite.client.get('x')\n")
    monkeypatch.syspath_prepend(tmp_path)

    with pytest.raises(AttributeError) as raised:
        importlib.import_module("the_spec").use()
    error = describe(raised.value, Project(tmp_path))

    assert error["globals"] == {"the_suite.client": "None"}
    assert error["none_names"] == ["the_suite.client"]


class State:
    client = None

    def __init__(self):
        self.session = None

    def use(self):
        return self.session.get(self.client)

    def use_the_class(self):
        return self.client.get("x")


state = State()


def test_attributes_of_objects_and_classes_are_named():
    assert described(state.use)["none_names"] == ["self.session"]
    assert described(state.use_the_class)["none_names"] == ["self.client"]
    assert described(lambda: State.client.get("x"))["globals"] == {f"{__name__}.State.client": "None"}
    assert described(lambda: state.session.get("x"))["globals"] == {
        f"{__name__}.state": "State",
        f"{__name__}.state.session": "None",
    }


def test_an_empty_path_is_named():
    path = settings["path"]

    error = described(lambda: os.open(path, os.O_RDONLY))

    assert error["kind"] == "FileNotFoundError"
    assert error["errno"] == errno.ENOENT
    assert error["empty_names"] == ["path"]


def test_an_empty_key_is_named():
    assert described(lambda: registry[""])["empty_names"] == ["key", "registry"]


def test_the_errno_and_the_address_come_from_anywhere_in_the_chain():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))  # and never listens
        port = listener.getsockname()[1]

        def use():
            try:
                asyncio.run(asyncio.wait_for(asyncio.open_connection("127.0.0.1", port), 5))
            except OSError as error:
                raise RuntimeError("the service is not there") from error

        error = described(use)

    assert error["kinds"][0] == "RuntimeError"
    assert error["errno"] == errno.ECONNREFUSED


def test_a_file_that_is_not_there_is_the_address(tmp_path):
    error = described((tmp_path / "missing.json").read_text)

    assert error["address"] == str(tmp_path / "missing.json")
    assert error["errno"] == errno.ENOENT


def test_every_error_of_a_group_counts():
    def use():
        raise ExceptionGroup("two", [ValueError("a"), ExceptionGroup("one", [OSError(errno.EPIPE, "broken")])])

    error = described(use)

    assert error["kinds"] == ["ExceptionGroup", "ValueError", "ExceptionGroup", "BrokenPipeError"]
    assert error["errno"] == errno.EPIPE


def test_causes_that_go_round_in_a_circle_are_followed_once():
    one, other = ValueError("one"), KeyError("other")
    one.__cause__, other.__cause__ = other, one

    assert describe(one, PROJECT)["kinds"] == ["ValueError", "KeyError"]


def test_an_error_whose_message_cannot_be_had_is_described():
    class Mute(Exception):
        def __str__(self):
            raise ValueError

    assert "ValueError" in describe(Mute(), PROJECT)["message"]


def test_no_property_is_called_and_no_value_is_kept():
    class Shop:
        calls = 0
        secret = "open sesame"

        @property
        def door(self):
            Shop.calls += 1
            if Shop.calls > 1:
                raise AssertionError("asked twice")
            return None

    shop = Shop()

    error = described(lambda: shop.door.knock(shop.secret))

    assert error["none"] is True
    assert Shop.calls == 1
    assert "sesame" not in json.dumps(error)


class Proxy:
    """As web frameworks have it: says that it is of another class, if that one is there."""

    @property
    def __class__(self):
        raise RuntimeError("outside of a request")

    def __getattr__(self, name):
        raise RuntimeError("outside of a request")


request = Proxy()


def test_a_proxy_of_what_is_not_there_is_left_alone():
    error = described(lambda: request.user.name)

    assert error["kind"] == "RuntimeError"
    assert error["globals"] == {f"{__name__}.request": "Proxy"}


@pytest.mark.parametrize(
    ("value", "kind"),
    [(None, "None"), ("", "empty str"), ("a", "str"), ([], "empty list"), ({1: 2}, "dict of 1"), (3, "int")],
)
def test_a_kind_says_what_is_missing_and_never_what_is_there(value, kind):
    assert kind_of(value) == kind


def test_files_of_installed_packages_are_not_the_projects(tmp_path):
    project = Project(tmp_path)

    assert project.relative(str(tmp_path / "tests" / "test_a.py")) == "tests/test_a.py"
    assert project.relative(str(tmp_path / ".venv/lib/python3.11/site-packages/x.py")) is None
    assert project.relative(json.__file__) is None


def test_a_limit_of_time_is_a_field_of_the_error_whoever_raises_it(pytester):
    pytester.makepyfile("""
        import subprocess, sys, time
        import pytest

        @pytest.mark.timeout(0.2, method="signal")
        def test_plugin():
            time.sleep(20)

        def test_process():
            subprocess.run([sys.executable, "-c", "import time; time.sleep(20)"], timeout=0.2)

        def test_other():
            raise LookupError("timed out, says its text only")
    """)

    pytester.runpytest_subprocess("-p", "no:cacheprovider", "-p", "no:randomly", timeout=60)

    record = load(find(start=pytester.path))
    assert [test.error.timed_out for test in record.tests] == [True, True, False]
