"""Responses: JSON, errors as Status objects, and watch streams."""

import asyncio
from collections.abc import AsyncIterator, Iterable

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from pocketkube.status import ApiError

JSON = "application/json"


def json_response(code: int, body: bytes, media_type: str = JSON, warnings: Iterable[str] = ()) -> Response:
    """Return a response whose body is encoded already; warnings are those that kubectl prints."""
    response = Response(body, code, media_type=media_type)
    for text in warnings:
        response.raw_headers.append((b"warning", f'299 - "{_quoted(text)}"'.encode()))
    return response


def error_response(error: ApiError) -> Response:
    """Return the error as a Status object; the 404 of an unknown group is plain text on a real server too."""
    if error.code == 404 and not error.reason:
        return Response(error.message.encode(), 404, media_type="text/plain")
    return json_response(error.code, error.as_json())


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")


class WatchResponse(Response):
    """Events as JSON lines, until they end, the client disconnects, or the server stops."""

    def __init__(self, events: AsyncIterator[bytes], stopping: asyncio.Event) -> None:
        super().__init__(media_type=JSON)
        del self.headers["content-length"]
        self._events = events
        self._stopping = stopping

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events as they come."""
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        # Headers travel with the first bytes; a quiet watch must still look open.
        await send({"type": "http.response.body", "body": b"", "more_body": True})
        pump = asyncio.create_task(self._pump(send), name="watch")
        ends = [
            pump,
            asyncio.create_task(_disconnected(receive), name="watch-client"),
            asyncio.create_task(self._stopping.wait(), name="watch-server"),
        ]
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in ends:
                task.cancel()
            await asyncio.gather(*ends, return_exceptions=True)
        if pump.done() and not pump.cancelled() and (error := pump.exception()) is not None:
            raise error
        await send({"type": "http.response.body", "body": b""})

    async def _pump(self, send: Send) -> None:
        async for lines in self._events:
            await send({"type": "http.response.body", "body": lines, "more_body": True})


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
