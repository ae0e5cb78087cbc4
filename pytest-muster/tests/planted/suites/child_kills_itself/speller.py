import os
import signal
import sys

for count, line in enumerate(sys.stdin):
    if count == 4:
        os.kill(os.getpid(), signal.SIGKILL)  # as the kernel does when memory is short
    print(line.strip().capitalize(), flush=True)
