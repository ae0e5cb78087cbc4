"""Files with keys, which only one user can read."""

import stat
from pathlib import Path

import pytest

from kubernaut.api.ledger import notes
from kubernaut.embedded.secret_files import ensure_signing_key


def test_a_key_gets_the_name_of_its_ledger_and_stays_the_same_key(tmp_path: Path):
    path = ensure_signing_key(tmp_path / "ledger.key", "one.example/log")
    (before,) = notes.parse_signers(path.read_text())
    other = notes.new_signer("two.example/log")
    path.write_text(f"# mine\n\n{before.skey}\n{other.skey}\n")

    ensure_signing_key(path, "two.example/log")

    assert path.read_text() == f"# mine\n\n{before.named('two.example/log').skey}\n{other.skey}\n"
    assert notes.parse_signers(path.read_text())[0].verifier.public == before.verifier.public
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("text", ["", "no key\n", "PRIVATE+KEY+x+1+2\n"])
def test_a_file_that_has_no_key_is_left_as_it_is(text: str, tmp_path: Path):
    path = tmp_path / "ledger.key"
    path.write_text(text)

    ensure_signing_key(path, "one.example/log")

    assert path.read_text() == text
