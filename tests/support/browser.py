"""Debian's chromium, driven by the DevTools protocol over two pipes.

    async with open_browser(tmp_path) as browser:
        page = await browser.open(url, width=360, is_dark=True)
        assert await page.evaluate("document.title") == "Search"
        assert page.complaints == []

`complaints` are errors of the console, exceptions, violations of the content security policy and requests that failed.
"""

import asyncio
import base64
import importlib.resources
import itertools
import json
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.eventually import eventually

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser")
AXE = importlib.resources.files("axe_playwright_python") / "axe.min.js"
MISSING = "needs Debian's chromium: apt-get install chromium"

_OPTIONS = (
    "--headless=new",
    "--no-sandbox",  # tests may run as root, in a container
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)
_ANSWER_TIMEOUT = 30.0  # seconds
AFTER_A_FRAME = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))"


class BrowserError(Exception):
    """chromium refused a command, or ended."""


@dataclass
class Page:
    """One tab."""

    _browser: "Browser"
    _session: str
    complaints: list[str] = field(default_factory=list)
    _loaded: asyncio.Event = field(default_factory=asyncio.Event)

    async def goto(self, url: str) -> None:
        """Load a page, until its load event and what its scripts do in the first frame."""
        self._loaded.clear()
        answer = await self.send("Page.navigate", url=url)
        if answer.get("errorText"):
            raise BrowserError(f"{url}: {answer['errorText']}")
        await self._until_shown()

    async def evaluate(self, expression: str) -> Any:
        """The value of an expression in the page; a promise is waited for."""
        answer = await self.send(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True, userGesture=True
        )
        if "exceptionDetails" in answer:
            raise BrowserError(str(answer["exceptionDetails"]))
        return answer["result"].get("value")

    async def submit(self, selector: str) -> None:
        """Press a button or a link that leads to another page, and wait for that."""
        self._loaded.clear()
        await self.evaluate(f"document.querySelector({json.dumps(selector)}).click()")
        await self._until_shown()

    async def type(self, text: str) -> None:
        """Put a text where the focus is, and release a key, which is what some scripts wait for."""
        await self.send("Input.insertText", text=text)
        await self.send("Input.dispatchKeyEvent", type="keyUp", key=text[-1:], text="")

    async def until(self, expression: str) -> Any:
        """Wait until an expression is true; its value."""
        return await eventually(lambda: self.evaluate(expression), timeout=20, description=expression)

    async def accessibility_findings(self) -> list[str]:
        """What axe-core calls serious or critical, each as `rule: elements`; WCAG 2.2 A and AA, and best practices."""
        await self.evaluate(AXE.read_text() + ";0")
        violations = await self.evaluate(
            "axe.run({resultTypes: ['violations'], preload: false}).then(result => result.violations)"
        )
        return [
            f"{each['id']} ({each['help']}): {[node['html'][:200] for node in each['nodes'][:5]]}"
            for each in violations
            if each["impact"] in ("serious", "critical")
        ]

    async def screenshot(self) -> bytes:
        """The whole page as a PNG."""
        answer = await self.send("Page.captureScreenshot", captureBeyondViewport=True)
        return base64.b64decode(answer["data"])

    async def send(self, method: str, **parameters: object) -> dict[str, Any]:
        return await self._browser.send(method, self._session, **parameters)

    async def _until_shown(self) -> None:
        await asyncio.wait_for(self._loaded.wait(), _ANSWER_TIMEOUT)
        await self.evaluate(AFTER_A_FRAME)

    def observe(self, method: str, parameters: dict[str, Any]) -> None:
        match method:
            case "Page.loadEventFired":
                self._loaded.set()
            case "Runtime.exceptionThrown":
                self.complaints.append(str(parameters["exceptionDetails"]))
            case "Runtime.consoleAPICalled" if parameters["type"] in ("error", "warning", "assert"):
                self.complaints.append(str(parameters["args"]))
            case "Log.entryAdded" if parameters["entry"]["level"] in ("error", "warning"):
                self.complaints.append(f"{parameters['entry']['text']} {parameters['entry'].get('url', '')}")
            case "Audits.issueAdded" if "ContentSecurityPolicy" in parameters["issue"]["code"]:
                self.complaints.append(str(parameters["issue"]))


class Browser:
    """A running chromium."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._pages: dict[str, Page] = {}

    async def open(
        self, url: str = "about:blank", *, width: int = 1200, height: int = 800, is_dark: bool = False
    ) -> Page:
        """A new tab without the cookies of others, on a screen of this size."""
        context = (await self.send("Target.createBrowserContext"))["browserContextId"]
        target = await self.send("Target.createTarget", url="about:blank", browserContextId=context)
        attached = await self.send("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        page = self._pages[attached["sessionId"]] = Page(self, attached["sessionId"])
        for domain in ("Page", "Runtime", "Log", "Audits", "Network"):
            await page.send(f"{domain}.enable")
        is_phone = width < 600
        await page.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=is_phone
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"}
        await page.send("Emulation.setEmulatedMedia", features=[scheme])
        if url != "about:blank":
            await page.goto(url)
        return page

    async def send(self, method: str, session: str = "", **parameters: object) -> dict[str, Any]:
        """Send a command; its result. Raises BrowserError."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters} | ({"sessionId": session} if session else {})
        self._answers[number] = future = asyncio.get_running_loop().create_future()
        self._writer.write(json.dumps(message).encode() + b"\0")
        answer = await asyncio.wait_for(future, _ANSWER_TIMEOUT)
        if "error" in answer:
            raise BrowserError(f"{method}: {answer['error']}")
        result: dict[str, Any] = answer["result"]
        return result

    async def run(self) -> None:
        """Hand on what chromium says, until it ends."""
        try:
            while True:
                message = json.loads((await self._reader.readuntil(b"\0"))[:-1])
                if (future := self._answers.pop(message.get("id", 0), None)) is not None:
                    if not future.done():
                        future.set_result(message)
                elif (page := self._pages.get(message.get("sessionId", ""))) is not None:
                    page.observe(message["method"], message["params"])
        except asyncio.IncompleteReadError:
            for future in self._answers.values():
                if not future.done():
                    future.set_exception(BrowserError("chromium has ended"))


@asynccontextmanager
async def open_browser(directory: Path) -> AsyncIterator[Browser]:
    """chromium with an empty profile in `directory`; killed at the end."""
    if PROGRAM is None:
        raise BrowserError(MISSING)
    commands_read, commands_write = os.pipe()
    answers_read, answers_write = os.pipe()
    loop = asyncio.get_running_loop()
    # chromium reads file descriptor 3 and writes 4; a shell puts the pipes there.
    redirect = f'exec "$0" "$@" 3<&{commands_read} 4>&{answers_write}'
    with (directory / "chromium.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            "/bin/bash", "-c", redirect, PROGRAM, *_OPTIONS, f"--user-data-dir={directory / 'profile'}",
            stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=(commands_read, answers_write),
            env={"HOME": str(directory), "PATH": os.environ["PATH"], "LANG": "C.UTF-8"}, start_new_session=True,
        )  # fmt: skip
    os.close(commands_read)
    os.close(answers_write)
    reader = asyncio.StreamReader(limit=2**26)
    answers, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(answers_read, "rb")
    )
    commands, protocol = await loop.connect_write_pipe(
        lambda: asyncio.streams.FlowControlMixin(loop), os.fdopen(commands_write, "wb")
    )
    browser = Browser(reader, asyncio.StreamWriter(commands, protocol, None, loop))
    receiver = loop.create_task(browser.run())
    try:
        yield browser
    finally:
        with_group = os.getpgid(process.pid) if process.returncode is None else 0
        if with_group:
            os.killpg(with_group, 9)
        await process.wait()
        await receiver
        commands.close()
        answers.close()
