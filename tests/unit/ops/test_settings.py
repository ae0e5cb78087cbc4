"""Configuration is read whole or refused with the key, the value and what is allowed."""

import re
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubernaut.ops.settings import Between, Bytes, Seconds, Secret, SettingsError, check_url, load, seconds
from kubernaut.ops.settings_view import as_values


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True, kw_only=True)
class Inner:
    write_timeout: Seconds = 30.0
    port: Annotated[int, Between(0, 65535)] = 8080
    body: Bytes = 5
    colour: Colour = Colour.RED
    names: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Outer:
    server: Inner = Inner()
    password: Secret | None = None
    where: Path | None = None
    ratio: float = 0.5


def test_defaults_stand_when_nothing_is_given():
    assert load(Outer, None) == Outer()


def test_file_and_environment_are_laid_over_each_other(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("server: {writeTimeout: 1m30s, body: 5MiB, names: [a]}\npassword: hush\nratio: 1\n")

    config = load(Outer, path, env={"X__SERVER__PORT": "9", "X__SERVER__COLOUR": "blue", "Y__RATIO": "7"}, prefix="X")

    assert config.server == Inner(write_timeout=90.0, body=5 * 2**20, port=9, colour=Colour.BLUE, names=["a"])
    assert config.ratio == 1.0
    assert repr(config.password) == "Secret('***')"
    assert config.password.reveal() == "hush"


@pytest.mark.parametrize(
    ("given_values", "says"),
    [
        ({"server": {"prot": 1}}, ["server.prot", "did you mean 'port'"]),
        ({"server": {"port": 70000}}, ["server.port", "70000", "65535"]),
        ({"server": {"port": "80"}}, ["server.port", "'80'", "a whole number"]),
        ({"server": {"port": True}}, ["server.port", "a whole number"]),
        ({"server": {"writeTimeout": "soon"}}, ["server.writeTimeout", "'soon'", "200ms"]),
        ({"server": {"writeTimeout": -1}}, ["server.writeTimeout", "-1"]),
        ({"server": {"body": "5MB"}}, ["server.body", "5MB", "5MiB"]),
        ({"server": {"colour": "green"}}, ["server.colour", "green", "red, blue"]),
        ({"server": []}, ["server", "mapping"]),
        ({"server": {"names": "a"}}, ["server.names", "list"]),
        ({"where": ""}, ["where", "not empty"]),
        ({"server": {"port": 70000}}, ["server.port: invalid value 70000: must be between 0 and 65535"]),
        ({"prot": "secret"}, ["prot: unknown key; allowed keys: server, password, where, ratio"]),
    ],
)
def test_bad_values_name_key_value_and_what_is_allowed(given_values, says):
    with pytest.raises(SettingsError) as error:
        load(Outer, given_values)

    for part in says:
        assert part in str(error.value)


SECRET = "hunter2"
LOGIN, HIDDEN = f"http://me:{SECRET}@db.example/x", "http://***@db.example/x"


@pytest.mark.parametrize(
    "text",
    [
        "passwrod: hunter2",
        "password: [hunter2]",
        "server: hunter2",
        "server: [hunter2]",
        "server: {passwrod: hunter2}",
        "server: {names: hunter2}",
        "server: {names: [{a: hunter2}]}",
        "where: {x: hunter2}",
        "ratio: http://me:hunter2@db.example/",
        "password: hunter2: hunter2",
        "password: *hunter2",
        "password: !hunter2 x",
        "password: 'hunter2",
        "- hunter2",
        "hunter2",
        "\tpassword: hunter2",
    ],
)
def test_a_configuration_error_never_shows_a_secret(tmp_path, text):
    path = tmp_path / "config.yaml"
    path.write_text(text)

    with pytest.raises(SettingsError) as error:
        load(Outer, path)

    assert SECRET not in str(error.value)


@pytest.mark.parametrize("text", ["a: b: hunter2", "*hunter2", "{hunter2"])
def test_a_variable_that_is_no_yaml_is_named_and_not_quoted(text):
    with pytest.raises(SettingsError, match="X__PASSWORD") as error:
        load(Outer, None, env={"X__PASSWORD": text}, prefix="X")

    assert SECRET not in str(error.value)


@pytest.mark.parametrize("content", [b"\xff\xfe", b"a: \x80", b"a: \x00", b"[" * 3000])
def test_a_file_that_is_no_yaml_at_all_is_named(tmp_path, content):
    path = tmp_path / "config.yaml"
    path.write_bytes(content)

    with pytest.raises(SettingsError, match=r"config\.yaml: failed to parse"):
        load(Outer, path)


def test_what_is_shown_of_a_configuration_reads_back_and_holds_no_secret():
    given_values = {
        "server": {"writeTimeout": "1m30s", "body": "5MiB", "port": 1, "names": [LOGIN], "colour": "blue"},
        "password": SECRET,
    }
    config = load(Outer, given_values)

    shown = as_values(config)

    assert SECRET not in str(shown)
    assert shown["server"] == {"writeTimeout": "90s", "body": "5MiB", "port": 1, "names": [HIDDEN], "colour": "blue"}
    assert load(Outer, shown).server == replace(config.server, names=[HIDDEN])


@pytest.mark.parametrize("text", ["[1, 2]", "a: [", "just text"])
def test_a_file_that_is_no_mapping_is_refused(tmp_path, text):
    path = tmp_path / "config.yaml"
    path.write_text(text)

    with pytest.raises(SettingsError, match="config"):
        load(Outer, path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(SettingsError, match=r"absent\.yaml"):
        load(Outer, tmp_path / "absent.yaml")


def test_a_secret_is_not_shown_when_it_is_refused():
    with pytest.raises(SettingsError) as error:
        load(Outer, {"password": 12345})

    assert "12345" not in str(error.value)


@given(st.integers(0, 99), st.integers(0, 59), st.integers(0, 59), st.integers(0, 999))
def test_durations_add_up(hours, minutes, secs, millis):
    expected = hours * 3600 + minutes * 60 + secs + millis / 1000

    assert seconds(f"{hours}h{minutes}m{secs}s{millis}ms") == pytest.approx(expected)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("data-storage-service:8080", "did you mean 'http://data-storage-service:8080'"),
        ("//store", "did you mean 'http://store'"),
        ("", "must be a URL such as"),
        ("ftp://store", "must be a URL"),
        ("http://", "must be a URL"),
        ("http://store:port", "must be a URL"),
        ("http://[::1", "must be a URL"),
        ("http://store:99999", "must be a URL"),
        ("http://store?x=1", "neither credentials nor a query"),
        ("http://me:secret@store", "neither credentials"),
    ],
)
def test_url_that_is_none_is_refused_with_a_hint(url: str, says: str):
    with pytest.raises(SettingsError, match=re.escape(says)) as refused:
        check_url("url", url)

    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    "url", ["http://store:8080", "https://store.svc/prefix/", "http://[::1]:80", "http://10.0.0.1"]
)
def test_url_of_a_host_is_accepted(url: str):
    check_url("url", url)
