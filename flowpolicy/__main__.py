"""``python -m flowpolicy`` is the command ``flowpolicy``."""

from __future__ import annotations

import sys

from flowpolicy.cli import main

if __name__ == "__main__":
    sys.exit(main())
