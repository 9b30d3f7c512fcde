"""`m2trans test`: what `python basicsr/test.py -opt` does, below the current directory."""

from basicsr_m2trans.cli.train import add_arguments, run

__all__ = ["HELP", "add_arguments", "run"]

HELP = "test a network with BasicSR, as an option file says; writes below results/"
