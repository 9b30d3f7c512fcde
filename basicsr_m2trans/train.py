"""`python -m basicsr_m2trans.train -opt FILE`: train below the current directory."""

import os
import sys

from basicsr_m2trans import register
from basicsr_m2trans.training.launch import main

if __name__ == "__main__":
    sys.exit(main("train", os.getcwd()))
else:
    # A DataLoader worker that is spawned imports this module before it can import BasicSR's data
    # sets.
    register()
