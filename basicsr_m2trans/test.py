"""`python -m basicsr_m2trans.test -opt FILE`: test below the current directory."""

import os
import sys

from basicsr_m2trans.training.launch import main

if __name__ == "__main__":
    sys.exit(main("test", os.getcwd()))
