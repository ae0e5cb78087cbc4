"""Run the API server: python -m kubernaut.embedded.apiserver --data DIR."""

import argparse
import asyncio
import contextlib
import signal
import sys
from pathlib import Path

import uvloop

from kubernaut.embedded.apiserver.server import DirectoryInUse, open_server
from kubernaut.ops import logs


def main() -> int:
    """Serve until SIGTERM or SIGINT; print one line when ready."""
    parser = argparse.ArgumentParser(prog="python -m kubernaut.embedded.apiserver", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="directory in which the objects live")
    parser.add_argument("--port", type=int, default=0, help="0: the port of the last time, or a free one")
    parser.add_argument("--kubeconfig", type=Path, help="where to write it (default: DATA/kubeconfig)")
    parser.add_argument("--token", default="", help="the bearer token clients need (default: a random one)")
    given = parser.parse_args()
    logs.configure(stream=sys.stderr)
    try:
        uvloop.run(_serve(given.data, given.port, given.kubeconfig, given.token))
    except (DirectoryInUse, OSError) as error:
        print(f"cannot serve {given.data}: {error}", file=sys.stderr)  # noqa: T201
        return 3
    return 0


async def _serve(data: Path, port: int, kubeconfig: Path | None, token: str) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with open_server(data, port=port, kubeconfig=kubeconfig, token=token) as server:
        with contextlib.suppress(BrokenPipeError):
            print(f"ready {server.url} {server.kubeconfig}", flush=True)  # noqa: T201
        await stop.wait()


if __name__ == "__main__":
    sys.exit(main())
