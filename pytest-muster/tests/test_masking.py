"""No secret gets into what is written, and what is no secret stays readable."""

import json
import string
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pytest_muster.records.journal import Journal, lines
from pytest_muster.records.masking import MASK, NAMES, Mask, is_secret_name

SECRETS = st.text(string.ascii_letters + string.digits + "+/=_-!$%.", min_size=10, max_size=40)
NAMED = st.sampled_from(
    ["password", "DB_PASSWORD", "PGPASSWORD", "db.passwd", "apiKey", "api_key", "accessToken", "client-secret"]
)
PLAIN = st.text(string.ascii_lowercase + " \n:={}[]()\"',./", max_size=60)


def a_mask(**environment):
    return Mask(environment)


@given(secret=SECRETS, before=PLAIN, after=PLAIN)
def test_a_value_of_the_environment_is_masked_wherever_it_occurs(secret, before, after):
    mask = a_mask(SERVICE_TOKEN=secret)

    assert secret not in mask.text(f"{before}{secret}{after}")
    assert secret not in json.dumps(mask.line({"type": "test", "output": {"log": [before, {"x": secret + after}]}}))


@given(name=NAMED, secret=SECRETS, around=PLAIN)
def test_what_a_resource_answers_under_a_secret_name_is_masked_in_later_text(name, secret, around):
    mask = a_mask()
    mask.learn({"service": [{"url": "http://127.0.0.1:80/", name: secret}]})

    assert secret not in mask.text(f"{around}{secret}")
    assert mask.text("http://127.0.0.1:80/") == "http://127.0.0.1:80/"


@given(name=NAMED, secret=SECRETS)
def test_a_value_under_a_secret_name_is_masked_although_nobody_knew_it(name, secret):
    mask = a_mask()

    assert secret not in json.dumps(mask.data({name: secret, "more": [{name: {"deep": [secret]}}]}))
    assert secret not in json.dumps(mask.data(["serve", f"--{name}", secret]))


@given(name=NAMED, secret=st.text(string.ascii_letters + string.digits, min_size=4, max_size=30))
def test_an_assignment_in_text_is_masked(name, secret):
    assume(secret.lower() not in {"none", "null", "true", "false"})
    mask = a_mask()

    for text in (
        f"{name}={secret}",
        f"{name}: {secret}",
        f'{{"{name}": "{secret} x"}}',
        f"f({name}='{secret}', port=1)",
    ):
        masked = mask.text(text)
        assert secret not in masked.replace(name, ""), text
        assert MASK in masked


@given(user=st.text(string.ascii_lowercase, min_size=1, max_size=8), password=st.text(min_size=1, max_size=20))
def test_the_password_of_a_url_is_masked_and_the_rest_is_not(user, password):
    mask = a_mask()
    url = f"postgres://{user}:{quote(password, safe='')}@127.0.0.1:5432/shop"

    assert mask.text(f"cannot reach {url} now") == f"cannot reach postgres://{user}:{MASK}@127.0.0.1:5432/shop now"


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("Authorization: Bearer abcdefghijkl", "abcdefghijkl"),
        ("{'authorization': 'Basic dXNlcjpwYXNz'}", "dXNlcjpwYXNz"),
        ("got bearer abc.def-ghi~jkl back", "abc.def-ghi~jkl"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\nabcd\n-----END RSA PRIVATE KEY-----", "MIIE"),
        ("-----BEGIN PRIVATE KEY-----\nMIIE cut off", "MIIE"),
        ("eyJhbGciOiJub25lIn0.eyJzdWIiOiJtZSJ9.c2lnbmF0dXJl", "eyJzdWIiOiJtZSJ9"),
        ("pushed with ghp_0123456789abcdefghij", "ghp_0123456789abcdefghij"),
        ("MYSQL_PWD=hunter22 mysqldump", "hunter22"),
        ("{'db_pass': 'hunter22'}", "hunter22"),
        ("redis://:hunter22@127.0.0.1:6379", "hunter22"),
        ("postgres://u:p@ss@127.0.0.1/x", "p@ss"),
    ],
)
def test_known_forms_are_masked(text, secret):
    assert secret not in a_mask().text(text)


@pytest.mark.parametrize(
    "name",
    ["password", "PGPASSWORD", "dbPassword", "X-Api-Key", "aws_secret_access_key", "GITHUB_TOKEN", "credentials"],
)
def test_secret_names(name):
    assert is_secret_name(name)


@pytest.mark.parametrize(
    "name",
    ["PWD", "OLDPWD", "max_tokens", "token_count", "PASSWORD_FILE", "tokenizer", "monkey", "author", "port", "key"],
)
def test_names_that_are_not_secret(name):
    assert not is_secret_name(name)


@pytest.mark.parametrize(
    "text",
    [
        "assert 3 == 4",
        "postgres accepts connections on 127.0.0.1:5432",
        "http://127.0.0.1:8080/api?page=2",
        "KeyError: 'region'",
        "password is required",
        "PWD=/home/me",
        "one pass: 3 tests",
        "test_token.py:12: AssertionError",
    ],
)
def test_text_without_secrets_stays_as_it_is(text):
    assert a_mask(POSTGRES_PASSWORD="postgres", PWD="/home", DEBUG_TOKEN="1").text(text) == text


@pytest.mark.timeout(20)
@pytest.mark.parametrize("word", ["a", "token", "x://", "eyJ", "-----BEGIN PRIVATE KEY", "password=", '"', "x:y@"])
def test_long_words_take_no_quadratic_time(word):
    text = word * (300_000 // len(word)) + " token"

    assert a_mask(A_TOKEN="0123456789").text(text)


def test_secrets_of_several_lines_are_masked_line_by_line():
    mask = a_mask(DEPLOY_SECRET="first-line-of-it\nsecond-line-of-it")

    assert mask.text("log: second-line-of-it") == f"log: {MASK}"


def test_names_of_the_record_are_kept():
    mask = a_mask(A_TOKEN="test_login")

    assert mask.line({"type": "test", "test": "a.py::test_login"})["test"] == "a.py::test_login"
    assert "text" not in NAMES
    assert "message" not in NAMES


def test_a_journal_masks_what_it_writes(tmp_path, monkeypatch):
    monkeypatch.setenv("SHOP_PASSWORD", "correct horse battery")
    journal = Journal(tmp_path / "record.jsonl")

    journal.write(
        "resource",
        name="shop",
        error="login with correct horse battery failed",
        tail="token=abcdef\nready",
        path=Path("/var/correct horse battery/x"),
    )
    journal.close()

    (line,) = lines(tmp_path / "record.jsonl")
    assert line["error"] == "login with *** failed"
    assert line["path"] == "/var/***/x"
    assert line["tail"] == "token=***\nready"
