"""The merger sums contributions and applies updates. It must start fast and stay small, so it never imports torch."""

import os
import sys
from collections.abc import Mapping

from sapflow_functions.process import serve
from sapflow_functions.runner import Handler


def _load_handlers() -> Mapping[str, Handler]:
    from sapflow_functions.roles import merging

    return merging.handlers()


def main() -> int:
    """Serve until told to stop."""
    return serve("merger", _load_handlers, sys.argv[1:], os.environ)


if __name__ == "__main__":
    sys.exit(main())
