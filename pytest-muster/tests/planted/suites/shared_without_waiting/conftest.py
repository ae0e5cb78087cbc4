import sys
from pathlib import Path

import pytest_muster as muster


@muster.shared
def gateway(muster_run):
    port = muster_run.port()
    process = muster_run.start(
        [sys.executable, str(Path(__file__).with_name("serve.py")), str(port)], log="gateway.log"
    )
    yield {"port": port}
    process.stop()
