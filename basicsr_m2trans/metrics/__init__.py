"""Image quality metrics of the paper that BasicSR lacks."""

from basicsr_m2trans.metrics.perceptual import calculate_fsim, calculate_gmsd

__all__ = ["calculate_fsim", "calculate_gmsd"]
