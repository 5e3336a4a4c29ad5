"""The preparer makes blocks of raw data. It has no torch, and never runs code of a user's."""

import os
import sys
from collections.abc import Mapping

from sapflow_functions.process import serve
from sapflow_functions.runner import Handler


def _load_handlers() -> Mapping[str, Handler]:
    from sapflow.preparation.own_parts import own_parts
    from sapflow_functions.roles import preparation

    return preparation.handlers(own_parts())


def main() -> int:
    """Serve until told to stop."""
    return serve("preparer", _load_handlers, sys.argv[1:], os.environ)


if __name__ == "__main__":
    sys.exit(main())
