import subprocess
import sys

CONVERT = "import sys, time; time.sleep(0 if sys.argv[1] == 'small' else 30); print('done')"


class NoPicture(Exception):
    pass


def convert(size):
    try:
        command = [sys.executable, "-S", "-c", CONVERT, size]
        return subprocess.run(command, capture_output=True, text=True, timeout=0.6, check=True).stdout.strip()
    except subprocess.SubprocessError as error:
        raise NoPicture(size) from error
