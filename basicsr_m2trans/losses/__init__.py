"""Losses; `basicsr_m2trans.register()` registers them with BasicSR."""

from basicsr_m2trans.losses.image_text_semantic_loss import ImageTextSemanticLoss

__all__ = ["ImageTextSemanticLoss"]
