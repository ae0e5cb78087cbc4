"""Arguments to configuration to service; no logic lives here."""

import signal
from typing import NoReturn

__all__ = ["main"]


def main() -> NoReturn:
    """The console script."""
    handler = signal.getsignal(signal.SIGINT)
    if handler is signal.default_int_handler:
        # Ctrl-C while modules are imported ends the process, without a traceback of the imports.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    # Imported here, so that it is after that.
    from kubernaut.cli import app

    signal.signal(signal.SIGINT, handler)
    app.main()
