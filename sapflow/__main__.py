"""`python -m sapflow` is `sapflow`."""

import sys

from sapflow.cli import main

if __name__ == "__main__":
    sys.exit(main())
