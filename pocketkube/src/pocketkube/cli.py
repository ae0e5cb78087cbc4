"""The command line: `pocketkube run`, `pocketkube version`."""

import argparse
import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
from importlib import metadata
from pathlib import Path
from threading import Thread

import uvloop

from pocketkube.api_server import ApiServer, StartError
from pocketkube.http.discovery import KUBERNETES_VERSION
from pocketkube.server import open_api_server

_CANNOT_START = 3


def main() -> int:
    """Run one command; return its exit code."""
    arguments = _parser().parse_args()
    if arguments.command == "version":
        print(f"pocketkube {metadata.version('pocketkube')} (Kubernetes API {KUBERNETES_VERSION})")  # noqa: T201
        return 0
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    try:
        uvloop.run(_serve(arguments))
    except (StartError, OSError) as error:
        print(f"pocketkube: cannot start: {error}", file=sys.stderr)  # noqa: T201
        return _CANNOT_START
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="pocketkube", description="A Kubernetes API server in one process.")
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="serve until Ctrl-C or SIGTERM")
    run.add_argument("--data", type=Path, help="directory that keeps the objects (default: a temporary one)")
    run.add_argument("--port", type=int, default=0, help="default: the port of the last run, or a free one")
    run.add_argument("--kubeconfig", type=Path, help="where to write the kubeconfig (default: DATA/kubeconfig)")
    run.add_argument("--token", default="", help="bearer token of the administrator (default: a random one)")
    run.add_argument("--output", choices=("text", "json"), default="text", help="format of the start message")
    run.add_argument("--stop-on-eof", action="store_true", help="stop when standard input ends")
    commands.add_parser("version", help="print the version")
    return parser


async def _serve(arguments: argparse.Namespace) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if arguments.stop_on_eof:
        Thread(target=_wait_for_eof, args=(loop, stop), name="stdin", daemon=True).start()
    opening = open_api_server(
        arguments.data, port=arguments.port, kubeconfig=arguments.kubeconfig, token=arguments.token
    )
    async with opening as server:
        with contextlib.suppress(BrokenPipeError):
            print(_start_message(server, arguments), flush=True)  # noqa: T201
        await stop.wait()


def _wait_for_eof(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    # In a thread, because an event loop cannot wait for files such as /dev/null.
    while os.read(sys.stdin.fileno(), 1024):
        pass
    with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
        loop.call_soon_threadsafe(stop.set)


def _start_message(server: ApiServer, arguments: argparse.Namespace) -> str:
    if arguments.output == "json":
        return json.dumps({"url": server.url, "kubeconfig": str(server.kubeconfig), "token": server.token})
    kept = f"in {arguments.data}" if arguments.data is not None else "until it stops (--data DIR keeps them)"
    return (
        f"Kubernetes API {KUBERNETES_VERSION} at {server.url}\n"
        f"Objects are kept {kept}. Ctrl-C stops it.\n\n"
        f"  kubectl --kubeconfig={server.kubeconfig} get namespaces"
    )
