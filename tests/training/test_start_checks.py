"""What a run is refused because of its checkpoint; test_training_start.py has the rest."""

import pytest
import torch

from basicsr_m2trans import register
from basicsr_m2trans.training.start_checks import require_fitting_optimizer
from basicsr_m2trans.utils.errors import InputError

register()

from basicsr.utils.registry import ARCH_REGISTRY  # noqa: E402

NETWORK = {"type": "M2Trans", "upscale": 2, "num_feat": 8, "num_block": 1}


def state_after_a_step():
    network = ARCH_REGISTRY.get("M2Trans")(upscale=2, num_feat=8, num_block=1)
    optimizer = torch.optim.Adam(network.parameters())
    for weight in network.parameters():
        weight.grad = torch.zeros_like(weight)
    optimizer.step()
    return {"optimizers": [optimizer.state_dict()]}


def test_a_network_that_is_not_resumed_may_have_new_weights():
    require_fitting_optimizer({"name": "tiny", "network_g": NETWORK}, state_after_a_step())


@pytest.mark.parametrize("changes", [{"num_feat": 16}, {"num_block": 2}])
def test_a_network_that_is_not_resumed_must_fit_the_optimizer(changes):
    """Otherwise loading the state or the first step ends in a traceback."""
    opt = {"name": "tiny", "network_g": NETWORK | changes}
    with pytest.raises(InputError, match="cannot resume tiny: path: ignore_resume_networks"):
        require_fitting_optimizer(opt, state_after_a_step())
