"""`python -m hpcorch` is the command `hpcorch`."""

from __future__ import annotations

import sys

from hpcorch.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
