"""``python -m lightwell``."""

import sys

from lightwell.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
