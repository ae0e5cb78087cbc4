"""A running OPA as the engine: exactly its answers, over HTTP, for those who prefer it to the engine in this package.

The policy is uploaded under a package name that holds its hash, so that versions and replicas that share an OPA never
see each other's rules, and whoever finds its upload gone (OPA was restarted) uploads it again. Used in the policy
process only, so it blocks.
"""

import http.client
import json
import re
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from kubernaut.signalprocessing.policy.errors import OpaUnavailable, PolicyError
from kubernaut.signalprocessing.policy.protocol import OpaServer, RuleError
from kubernaut.signalprocessing.policy.rewrite import Edit, Rewritten, apply
from kubernaut.signalprocessing.policy.sandbox import without_texts

ENTRY = "kubernaut_entry.rego"
_PREFIX = "kubernaut"
_PACKAGE = re.compile(r"(?m)^(\s*package\s+)signalprocessing\b")
_REFERENCE = re.compile(r"(?<![\w.])data\s*\.\s*signalprocessing\b")
_MAX_ANSWER = 8 * 1024 * 1024
_HASH_CHARS = 16


class _Answer(msgspec.Struct):
    result: msgspec.Raw = msgspec.Raw()


_decode_answer = msgspec.json.Decoder(_Answer).decode


class Opa:
    """An OPA server that evaluates one version of a policy."""

    def __init__(self, server: OpaServer, policy_hash: str, *, waits: bool = False) -> None:
        """`waits`: an OPA that is not there is no error here; the policy is uploaded when it is asked for."""
        self._server = server
        self._root = f"{_PREFIX}_{policy_hash[:_HASH_CHARS]}"
        self._modules: dict[str, Rewritten] = {}
        self._connection: http.client.HTTPConnection | None = None
        self._waits = waits
        self.unavailable = ""
        """Why OPA has not got the policy yet."""
        try:
            self._delete_others()
        except OpaUnavailable as error:
            self._note(error)

    def add_module(self, file: str, text: str) -> None:
        """Upload a module. Raises PolicyError with OPA's reason and place."""
        module = self._renamed(text) if file != ENTRY else self._renamed_entry(text)
        self._modules[file] = module
        try:
            self._upload(file, module)
        except OpaUnavailable as error:
            self._note(error)

    def _note(self, error: OpaUnavailable) -> None:
        if not self._waits:
            raise error
        self.unavailable = error.message

    def evaluate(self, document: str, rules: list[str]) -> Iterator[bytes | RuleError]:
        for rule in rules:
            try:
                yield self._evaluate(document, rule)
            except PolicyError as error:
                yield RuleError(message=error.message, file=error.file, line=error.line, column=error.column)

    def _evaluate(self, document: str, rule: str) -> bytes:
        path = f"/v1/data/{self._root}/entry/{rule}"
        body = b'{"input":' + document.encode() + b"}"
        for is_last in (False, True):
            status, content = self._call("POST", path, body)
            if status != 200:
                raise self._error(content, status)
            try:
                result = bytes(_decode_answer(content).result)
            except msgspec.DecodeError as error:
                raise OpaUnavailable(f"OPA's answer cannot be read: {error}") from error
            if result:
                return result
            if not is_last:  # every rule of the entry is defined, so the upload is gone
                for file, module in self._modules.items():
                    self._upload(file, module)
        raise OpaUnavailable("OPA does not keep the policy that is uploaded to it")

    def _upload(self, file: str, module: Rewritten) -> None:
        status, content = self._call("PUT", f"/v1/policies/{_PREFIX}/{self._root}/{file}", module.text.encode())
        if status != 200:
            raise self._error(content, status, file)

    def _delete_others(self) -> None:
        """Remove the versions of earlier times; a replica that still uses one uploads it again."""
        status, content = self._call("GET", "/v1/policies", b"")
        if status != 200:
            raise self._error(content, status)
        try:
            ids = [str(each["id"]) for each in json.loads(content)["result"] or ()]
        except (ValueError, KeyError, TypeError) as error:
            raise OpaUnavailable(f"{self._server.url} does not answer as OPA does: {error!r}") from error
        for name in ids:
            if name.startswith(f"{_PREFIX}/") and not name.startswith(f"{_PREFIX}/{self._root}/"):
                self._call("DELETE", f"/v1/policies/{name}", b"")

    def _renamed(self, text: str) -> Rewritten:
        code = without_texts(text)
        edits = [
            Edit(
                start=_offset(text, match.end() - len("signalprocessing")),
                end=_offset(text, match.end()),
                text=f"{self._root}.signalprocessing".encode(),
                phase=2,
            )
            for pattern in (_PACKAGE, _REFERENCE)
            for match in pattern.finditer(code)
        ]
        return apply(text.encode(), edits)

    def _renamed_entry(self, text: str) -> Rewritten:
        renamed = self._renamed(text).text.replace("package kubernaut_entry", f"package {self._root}.entry")
        return apply(renamed.encode(), [])

    def _call(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        """Status and body of one request; a kept connection that OPA closed meanwhile is opened again."""
        headers = {"Content-Type": "application/json" if path.startswith("/v1/data") else "text/plain"}
        if self._server.token_file:
            headers["Authorization"] = f"Bearer {_token(Path(self._server.token_file))}"
        prefix = urlsplit(self._server.url).path.rstrip("/")
        for is_new in (self._connection is None, True):
            try:
                self._connection = self._connection or self._connect()
                self._connection.request(method, prefix + path, body, headers)
                response = self._connection.getresponse()
                content = response.read(_MAX_ANSWER + 1)
            except (OSError, http.client.HTTPException) as error:
                self._close()
                if is_new or isinstance(error, TimeoutError):
                    raise OpaUnavailable(f"OPA at {self._server.url}: {_reason(error, self._server)}") from error
                continue
            if len(content) > _MAX_ANSWER:
                self._close()
                raise OpaUnavailable(f"OPA's answer is larger than {_MAX_ANSWER} bytes")
            return response.status, content
        raise OpaUnavailable(f"OPA at {self._server.url} closes its connections")

    def _connect(self) -> http.client.HTTPConnection:
        url = urlsplit(self._server.url)
        if url.scheme == "https":
            context = ssl.create_default_context(cafile=self._server.ca_file or None)
            return http.client.HTTPSConnection(url.netloc, timeout=self._server.timeout, context=context)
        return http.client.HTTPConnection(url.netloc, timeout=self._server.timeout)

    def _close(self) -> None:
        if self._connection:
            self._connection.close()
        self._connection = None

    def _error(self, content: bytes, status: int, file: str = "") -> PolicyError:
        """OPA's error, with the place in the file as it was written."""
        try:
            answer: dict[str, Any] = json.loads(content)
            first: dict[str, Any] = (answer.get("errors") or [{}])[0]
            message = str(first.get("message") or answer.get("message") or f"OPA answers {status}")
            location: dict[str, Any] = first.get("location") or {}
            place = str(location.get("file", "")).rsplit("/", 1)[-1] or file
            line, column = int(location.get("row", 0)), int(location.get("col", 0))
        except (ValueError, AttributeError, TypeError, IndexError):
            return OpaUnavailable(f"OPA answers {status}, not as OPA does")
        if place in self._modules and line:
            line, column = self._modules[place].place(line, column)
        for ours in (f"{_PREFIX}/{self._root}/", f"{self._root}."):
            message = message.replace(ours, "")
        return PolicyError(" ".join(message.split()), file=place, line=line, column=column)


def _offset(text: str, place: int) -> int:
    return len(text[:place].encode())


def _token(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError as error:
        raise OpaUnavailable(f"{path}: {error.strerror}") from error


def _reason(error: Exception, server: OpaServer) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {server.timeout:g} s"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
