"""`python -m pocketkube` is the command `pocketkube`."""

import sys

from pocketkube.cli import main

if __name__ == "__main__":
    sys.exit(main())
