"""Configuration of DataStorage."""

from pathlib import Path

import pytest

from kubernaut.datastorage.config import DatabaseConfig, DataStorageConfig, SslMode
from kubernaut.ops import settings
from kubernaut.ops.settings import Secret, SettingsError


def test_file_of_the_go_project_is_understood(tmp_path: Path):
    secrets = tmp_path / "db.yaml"
    secrets.write_text("username: slm\npassword: p@ss/word\n")
    file = tmp_path / "config.yaml"
    file.write_text(
        f"""
server: {{port: 18090, maxBatchSize: 500, maxBodySize: 1MiB, shutdownTimeout: 60s, endpointPropagationDelay: 5s}}
database:
  host: postgresql
  port: 5433
  name: action_history
  user: other
  sslMode: disable
  maxOpenConns: 25
  statementTimeout: 30s
  lockTimeout: 10s
  secretsFile: {secrets}
  usernameKey: username
  passwordKey: password
ledger: {{shards: 2}}
logging: {{level: INFO, format: json}}
"""
    )

    config = settings.load(DataStorageConfig, file)

    assert config.server.max_body_size == 2**20
    assert config.ledger.shards == 2
    assert config.database.dsn() == "postgresql://slm:p%40ss%2Fword@postgresql:5433/action_history?sslmode=disable"


def test_password_comes_from_its_file(tmp_path: Path):
    file = tmp_path / "password"
    file.write_text("secret\n")

    assert "slm_user:secret@" in DatabaseConfig(password_file=file).dsn()


@pytest.mark.parametrize("text", ["[1]", "password: [", "user: a"])
def test_bad_secrets_file_is_named_and_not_quoted(tmp_path: Path, text: str):
    file = tmp_path / "secrets.yaml"
    file.write_text(text)

    with pytest.raises(SettingsError, match=r"database\.secretsFile") as caught:
        DatabaseConfig(secrets_file=file).dsn()
    assert text not in str(caught.value)


def test_missing_file_is_named(tmp_path: Path):
    with pytest.raises(SettingsError, match=r"database\.passwordFile"):
        DatabaseConfig(password_file=tmp_path / "none").dsn()


def test_url_and_back():
    config = DatabaseConfig.from_url("postgresql://us%20er:p%40ss@127.0.0.1:5555/na%2Fme")

    assert (config.user, config.password, config.name) == ("us er", Secret("p@ss"), "na/me")
    assert config.dsn() == "postgresql://us%20er:p%40ss@127.0.0.1:5555/na%2Fme?sslmode=prefer"


def test_socket_and_ipv6_hosts():
    socket = DatabaseConfig(host="/run/postgresql", ssl_mode=SslMode.DISABLE)
    six = DatabaseConfig(host="::1", ssl_root_cert=Path("/ca.pem"), ssl_mode=SslMode.VERIFY_FULL)

    assert socket.dsn().endswith("@/action_history?sslmode=disable&host=%2Frun%2Fpostgresql&port=5432")
    assert "@[::1]:5432/" in six.dsn()
    assert six.dsn().endswith("sslmode=verify-full&sslrootcert=%2Fca.pem")


def test_secret_never_shows():
    assert "hunter2" not in repr(DatabaseConfig(password=Secret("hunter2")))


@pytest.mark.parametrize("values", [{"server": {"maxBatchSize": 1001}}, {"ledger": {"shards": 0}}, {"redis": {}}])
def test_bad_value_or_unknown_key_stops(values: dict[str, object]):
    with pytest.raises(SettingsError):
        settings.load(DataStorageConfig, values)
