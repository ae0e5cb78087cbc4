import sys
from pathlib import Path

import pytest_muster as muster


@muster.shared
def ledger(muster_run):
    port = muster_run.port()
    process = muster_run.start([sys.executable, str(Path(__file__).with_name("serve.py")), str(port)], log="ledger.log")
    log = Path(muster_run.directory)
    muster_run.wait_until(lambda: log.exists() and listens(port), timeout=10, description="the ledger listens")
    yield {"port": port}
    process.stop()


def listens(port):
    hexadecimal = f"0100007F:{port:04X} 00000000:0000 0A"
    return hexadecimal in Path("/proc/net/tcp").read_text()
