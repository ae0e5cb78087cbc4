"""Token files are read again when they change, and a file that cannot be read lets nobody in."""

import os

import pytest

from kubernaut.ops.http.auth_config import TokenConfig
from kubernaut.ops.http.authentication import CannotAuthenticate
from kubernaut.ops.http.token_files import CHECK_INTERVAL, TokenFiles
from kubernaut.ops.settings import SettingsError

OLD, NEW = "old-token-0123456789", "new-token-0123456789"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "alertmanager"
    path.write_text(f"{OLD}\n")
    return path


@pytest.fixture
def tokens(file, clock):
    return TokenFiles([TokenConfig(identity="alertmanager", file=file)], clock)


async def name_of(tokens: TokenFiles, token: str) -> str | None:
    identity = await tokens.authenticate(token)
    return identity.name if identity else None


async def test_token_is_that_of_its_file(tokens):
    assert await name_of(tokens, OLD) == "alertmanager"
    assert await name_of(tokens, OLD[:-1]) is None
    assert await name_of(tokens, "") is None


async def test_new_token_counts_at_once_and_the_old_one_until_its_line_goes(tokens, file, clock):
    file.write_text(f"{OLD}\n\n{NEW}\n")

    assert await name_of(tokens, NEW) == "alertmanager"
    assert await name_of(tokens, OLD) == "alertmanager"

    file.write_text(f"{NEW}\n")
    clock.now += CHECK_INTERVAL

    assert await name_of(tokens, OLD) is None
    assert await name_of(tokens, NEW) == "alertmanager"


async def test_file_that_is_replaced_by_another_of_the_same_size_and_time_is_read(tokens, file, tmp_path, clock):
    before = file.stat()
    other = tmp_path / "other"
    other.write_text(f"{NEW}\n")
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(file)
    clock.now += CHECK_INTERVAL

    assert await name_of(tokens, OLD) is None
    assert await name_of(tokens, NEW) == "alertmanager"


async def test_empty_file_revokes(tokens, file, clock):
    file.write_text("")
    clock.now += CHECK_INTERVAL

    assert await name_of(tokens, OLD) is None


async def test_while_a_file_is_gone_its_tokens_cannot_be_checked(file, tmp_path, clock):
    second = tmp_path / "grafana"
    second.write_text(f"{NEW}\n")
    configs = [TokenConfig(identity="alertmanager", file=file), TokenConfig(identity="grafana", file=second)]
    tokens = TokenFiles(configs, clock)
    file.unlink()
    clock.now += CHECK_INTERVAL

    with pytest.raises(CannotAuthenticate, match="alertmanager"):
        await tokens.authenticate(OLD)
    assert await name_of(tokens, NEW) == "grafana"

    file.write_text(f"{OLD}\n")

    assert await name_of(tokens, OLD) == "alertmanager"


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "no token"), ("short\n", "at least 16 characters"), (None, "No such file"), (b"\xff" * 20, "decode")],
)
def test_file_that_cannot_be_used_stops_the_start_and_shows_no_token(tmp_path, text, message):
    path = tmp_path / "token"
    if isinstance(text, bytes):
        path.write_bytes(text)
    elif text is not None:
        path.write_text(text)

    with pytest.raises(SettingsError, match=rf"^auth\.tokens\[0\]\.file: .*{message}") as caught:
        TokenFiles([TokenConfig(identity="alertmanager", file=path)])

    assert "short" not in str(caught.value)


def test_ambiguous_tokens_stop_the_start(file):
    with pytest.raises(SettingsError, match="same token"):
        TokenFiles([TokenConfig(identity="a", file=file), TokenConfig(identity="b", file=file)])
    with pytest.raises(SettingsError, match="given twice"):
        TokenFiles([TokenConfig(identity="a", file=file), TokenConfig(identity="a", file=file)])
