import pytest
import torch

from basicsr_m2trans.encoders.seeded_clip import SeededCLIPEncoder
from basicsr_m2trans.losses import ImageTextSemanticLoss


@pytest.mark.parametrize("side", [96, 240])
def test_the_literal_loss_has_the_same_value_and_gradient(side):
    from semantic import CAPTIONS, literal_semantic_loss

    torch.manual_seed(0)
    loss = ImageTextSemanticLoss(SeededCLIPEncoder())
    sr, hr = torch.rand(2, 2, 3, side, side)
    sr.requires_grad_()
    corners = loss.draw_corners(2, side, side)
    ours = loss(sr, hr, CAPTIONS, corners)
    literal = literal_semantic_loss(loss.encoder, sr, hr, CAPTIONS, corners)
    torch.testing.assert_close(ours, literal)
    torch.testing.assert_close(
        *(torch.autograd.grad(each, sr)[0] for each in (ours, literal)), rtol=1e-3, atol=1e-8
    )
