"""python3 -m sapflow_operator"""

import os
import sys

from sapflow_operator.main import main

sys.exit(main(os.environ))
