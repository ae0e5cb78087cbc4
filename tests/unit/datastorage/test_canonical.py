"""The one form of a JSON value; what PostgreSQL makes of it stands in the integration tests."""

import json
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubernaut.datastorage import canonical

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("sent", "form"),
    [
        ('{"b": 1, "a": 2}', b'{"a":2,"b":1}'),
        ('{"a": 1, "a": 2}', b'{"a":2}'),
        ('{"n": 1e2}', b'{"n":100}'),
        ('{"n": 100.0}', b'{"n":100}'),
        ('{"n": -0.0}', b'{"n":0}'),
        ('{"n": -0}', b'{"n":0}'),
        ('{"n": 1.50}', b'{"n":1.5}'),
        ('{"n": 0.0000001}', b'{"n":1E-7}'),
        ('{"n": 12345678901234567890123456789.1}', b'{"n":12345678901234567890123456789.1}'),
        ('{"s": "\\u00e9\\ud83d\\ude00\\u2028/\\/"}', '{"s":"é😀\u2028//"}'.encode()),
        ('{"s": "\\u0007\\n"}', b'{"s":"\\u0007\\n"}'),
        ('{"": {}, "x": []}', b'{"":{},"x":[]}'),
    ],
)
def test_equal_values_have_one_form(sent: str, form: bytes):
    assert canonical.data(sent) == form


@settings(deadline=None)
@given(st.dictionaries(TEXT, JSON, max_size=4))
def test_form_is_a_fixed_point_and_keeps_the_value(value: dict[str, object]):
    sent = json.dumps(value)

    form = canonical.data(sent)

    assert canonical.data(form) == form
    assert json.loads(form, parse_float=Decimal, parse_int=Decimal) == json.loads(
        sent, parse_float=Decimal, parse_int=Decimal
    )


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        ("[]", "must be a JSON object"),
        ('"text"', "must be a JSON object"),
        ('{"a"', "is not JSON"),
        ('{"a": "\\ud800"}', "is not JSON"),
        ('{"a": NaN}', "is not JSON"),
        ('{"a": 1e400}', "more than 400 digits"),
        ('{"a": 1e-401}', "more than 400 digits"),
        ('{"a": 1e999999999}', "more than 400 digits"),
        ('{"a": ' + "1" * 401 + "}", "more than 400 digits"),
        ('{"a": [' + "-" + "1" * 900 + "]}", "more than 400 digits"),
        ('{"a": ' + "1" * 5000 + "}", "not JSON that can be kept"),
    ],
)
def test_value_without_a_form_is_refused(sent: str, reason: str):
    with pytest.raises(canonical.NotCanonical, match=reason):
        canonical.data(sent)


@pytest.mark.parametrize("depth", [canonical.MAX_DEPTH + 1, 5_000, 30_000])
def test_deep_value_is_refused_on_every_python(depth: int):
    # How deep a decoder goes differs from one interpreter to the next; our limit does not.
    with pytest.raises(canonical.NotCanonical, match=r"nested deeper|not JSON that can be kept"):
        canonical.admitted('{"a":' * depth + "1" + "}" * depth)


def test_digits_inside_a_text_are_no_number():
    sent = json.dumps({"a": "1" * 5000, "b": '"' + "2" * 900})

    assert canonical.data(sent) == sent.replace(" ", "").encode()


@pytest.mark.parametrize("number", ["1e399", "1e-400", "1" * 400, "-" + "9" * 400, "0." + "1" * 400])
def test_number_at_the_limit_is_kept(number: str):
    assert json.loads(canonical.data(f'{{"n": {number}}}'), parse_float=Decimal, parse_int=Decimal)["n"] == Decimal(
        number
    )


@pytest.mark.parametrize("number", ["1e309", "-1e309", "1.8e308", "1e-400", "9e-324000", "1" + "0" * 309, "2" * 309])
def test_number_that_no_double_comes_near_is_not_admitted(number: str):
    with pytest.raises(canonical.NotCanonical, match=r"range of a double|400 digits"):
        canonical.admitted(f'{{"a": [{number}]}}'.encode())


@pytest.mark.parametrize("number", ["1e308", "-1.7976931348623157e308", "5e-324", "1" * 309, "0e999", "0." + "1" * 300])
def test_number_in_the_range_of_a_double_is_admitted_with_all_its_digits(number: str):
    form = canonical.admitted(f'{{"a": {number}, "text": "{"9" * 400}"}}'.encode())

    assert json.loads(form, parse_float=Decimal, parse_int=Decimal)["a"] == Decimal(number)


@pytest.mark.parametrize("text", [{"a": "\0"}, {"\0": 1}, {"a": [{"b": "x\0y"}]}])
def test_nul_is_refused_wherever_it_stands(text: dict[str, object]):
    with pytest.raises(canonical.NotCanonical, match="NUL"):
        canonical.admitted(json.dumps(text).encode())


def test_escaped_backslash_before_u0000_is_no_nul():
    assert canonical.admitted(b'{"a":"\\\\u0000"}') == b'{"a":"\\\\u0000"}'


def nested(depth: int) -> bytes:
    return b'{"a":' * depth + b"1" + b"}" * depth


def test_ten_levels_pass_and_eleven_do_not():
    assert canonical.admitted(nested(canonical.MAX_DEPTH)) == nested(canonical.MAX_DEPTH)
    with pytest.raises(canonical.NotCanonical, match="deeper than 10"):
        canonical.admitted(nested(canonical.MAX_DEPTH + 1))


def test_many_flat_containers_are_not_deep():
    sent = json.dumps({"a": [{}] * 50}, separators=(",", ":")).encode()

    assert canonical.admitted(sent) == sent


def test_data_of_256_kib_passes_and_one_byte_more_does_not():
    fits = b'{"a":"' + b"x" * (canonical.MAX_BYTES - 8) + b'"}'

    assert canonical.admitted(fits) == fits
    with pytest.raises(canonical.NotCanonical, match="262144 are allowed"):
        canonical.admitted(fits.replace(b'"a"', b'"ab"'))
