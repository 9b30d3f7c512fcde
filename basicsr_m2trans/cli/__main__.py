"""`python -m basicsr_m2trans.cli`: the command m2trans where it is not on the path."""

import sys

from basicsr_m2trans.cli import main

sys.exit(main())
