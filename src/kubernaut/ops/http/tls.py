"""The server's certificate, read again when its files change, without a restart."""

import ssl
from dataclasses import dataclass
from pathlib import Path

import structlog

from kubernaut.ops.settings import SettingsError

log = structlog.get_logger("http")


@dataclass(frozen=True, kw_only=True)
class TlsConfig:
    """The server's certificate; without it the service speaks plain HTTP."""

    cert_file: Path | None = None
    """PEM file with the certificate and the intermediate ones. Read again when it changes."""

    key_file: Path | None = None
    """PEM file with its private key, not encrypted."""

    def __post_init__(self) -> None:
        if self.cert_file and not self.key_file:
            raise SettingsError("certFile", str(self.cert_file), "keyFile is not set")
        if self.key_file and not self.cert_file:
            raise SettingsError("keyFile", str(self.key_file), "certFile is not set")


class ServerCertificate:
    """A TLS context that follows the certificate's files."""

    def __init__(self, cert_file: Path, key_file: Path) -> None:
        """Raises SettingsError when the files cannot be used."""
        self._cert_file = cert_file
        self._key_file = key_file
        try:
            self._version = self._current_version()
            self.context = self._new_context()
        except (OSError, ssl.SSLError) as error:
            raise SettingsError(
                "server.tls.certFile", str(cert_file), f"with server.tls.keyFile {key_file}: {error}"
            ) from error
        self._error = ""

    def refresh(self) -> None:
        """Use what the files hold now for new connections; what cannot be used is logged, and tried at the next call.

        The two files are not replaced at the same instant, so a pair that does not match may be half of a change.
        """
        try:
            version = self._current_version()
            if version == self._version:
                return
            # Loading into a context of its own first: a pair that does not match would spoil the one in use.
            self._new_context()
            self._load(self.context)
        except (OSError, ssl.SSLError) as error:
            if str(error) != self._error:
                self._error = str(error)
                log.error("certificate not reloaded", file=str(self._cert_file), error=self._error)
            return
        self._version, self._error = version, ""
        log.info("certificate reloaded", file=str(self._cert_file))

    def _new_context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.set_alpn_protocols(["http/1.1"])
        self._load(context)
        return context

    def _load(self, context: ssl.SSLContext) -> None:
        # An encrypted key must fail; without a password OpenSSL would ask for one on the terminal.
        context.load_cert_chain(self._cert_file, self._key_file, password=lambda: "")

    def _current_version(self) -> tuple[tuple[int, ...], ...]:
        statuses = [path.stat() for path in (self._cert_file, self._key_file)]
        return tuple((status.st_mtime_ns, status.st_size, status.st_ino) for status in statuses)
