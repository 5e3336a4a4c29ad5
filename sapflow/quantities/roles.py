"""The roles of functions.

A new one is a name here and a module `sapflow_functions.roles.NAME`. No resource has functions of all of them.
"""

from typing import Literal, get_args

Role = Literal["worker", "merger", "preparer"]
ALL_ROLES: tuple[Role, ...] = get_args(Role)
TRAINING_ROLES: tuple[Role, ...] = ("worker", "merger")
"""Those of a pool that trains."""
