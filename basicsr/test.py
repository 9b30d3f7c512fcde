"""`python basicsr/test.py -opt FILE`: test below the folder of this repository."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Python puts this folder first, where its train.py and test.py would hide modules of these names.
sys.path[0] = str(ROOT)

from basicsr_m2trans.training.launch import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main("test", str(ROOT)))
