"""What holds for every page: our policy and headers, and nothing from outside as markup."""

import re
from html.parser import HTMLParser

import httpx2

from support.ledger_events import a_wire_event

HOSTILE = (
    "<script>alert(1)</script>\" onmouseover=alert(2) ' javascript:alert(3) \x1b[31m \u202egnp.exe \ufffd {{ 7 * 7 }}"
)
HOSTILE_AS_TEXT = HOSTILE.replace("\x1b", "\\x1b").replace("\u202e", "\\u202e")

TEXTS = {
    "event_type": 100,
    "event_action": 50,
    "version": 10,
    "correlation_id": 255,
    "actor_type": 50,
    "actor_id": 255,
    "resource_type": 100,
    "resource_id": 255,
    "resource_name": 255,
    "namespace": 253,
    "cluster_id": 255,
    "trace_id": 255,
    "span_id": 255,
    "severity": 20,
    "error_code": 50,
    "error_message": 1000,
}
"""Every column that a client fills with a text of its own, and its length."""


def a_hostile_event(**fields: object) -> dict[str, object]:
    """An event in which every text would be markup, script or a terminal's command if anybody let it."""
    texts = {name: HOSTILE[:length] for name, length in TEXTS.items()}
    return a_wire_event(**{**texts, "event_data": {HOSTILE: [HOSTILE]}, **fields})


class _Document(HTMLParser):
    """The text of a page, and the complaints about its markup."""

    def __init__(self) -> None:
        super().__init__()
        self.text: list[str] = []
        self.complaints: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "script" and not (given.get("src") or "").startswith("/ui/static/"):
            self.complaints.append(f"inline script: {attrs}")
        if tag in ("style", "iframe", "object", "embed", "base"):
            self.complaints.append(tag)
        for name, value in attrs:
            if name.startswith("on") or name in ("style", "srcdoc"):
                self.complaints.append(f"{tag} {name}")
            if name in ("href", "src", "action", "formaction") and not (value or "").startswith(("/", "#")):
                self.complaints.append(f"{tag} {name}={value}")

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def assert_page(answer: httpx2.Response, status: int = 200) -> str:
    """Raise AssertionError unless the answer is a page of ours; its text."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", answer.text)
    document = _Document()
    document.feed(answer.text)
    assert document.complaints == []
    text = " ".join("".join(document.text).split())
    assert "Traceback" not in text
    return text
