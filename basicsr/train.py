"""`python basicsr/train.py -opt FILE`: train below the folder of this repository."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Python puts this folder first, where its train.py and test.py would hide other modules of these
# names.
sys.path[0] = str(ROOT)

from basicsr_m2trans import register  # noqa: E402
from basicsr_m2trans.training.launch import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main("train", str(ROOT)))
else:
    # A DataLoader worker that is spawned imports this file before it can import BasicSR's data
    # sets.
    register()
