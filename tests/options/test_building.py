import torch

from basicsr_m2trans import register
from basicsr_m2trans.options import building

register()

from basicsr.utils import logger  # noqa: E402
from basicsr.utils.registry import ARCH_REGISTRY  # noqa: E402

SWINIR = {
    "type": "SwinIR",
    "upscale": 2,
    "embed_dim": 12,
    "depths": [1],
    "num_heads": [2],
    "window_size": 4,
}


def devices(network):
    return {parameter.device.type for parameter in network.parameters()}


class NeedsValues(torch.nn.Linear):
    """Looks into a tensor while it is built, which has no values on the meta device."""

    def __init__(self):
        super().__init__(1, 1)
        torch.zeros(1).numpy()


def test_networks_are_built_without_values_where_they_can_be(monkeypatch):
    monkeypatch.setattr(logger, "initialized_logger", {})
    monkeypatch.setitem(ARCH_REGISTRY._obj_map, "NeedsValues", NeedsValues)
    assert devices(building.build_network({"type": "M2Trans", "upscale": 2, "num_block": 1})) == {
        "meta"
    }
    assert devices(building.build_network({"type": "NeedsValues"})) == {"cpu"}
    assert (
        logger.initialized_logger == {}
    )  # a log that is open already would get no file from the run


def test_a_skip_of_a_network_that_is_unknown_here_is_found_by_its_output(monkeypatch):
    """Not only at the start of training, when the folder of the run is made."""
    monkeypatch.setitem(ARCH_REGISTRY._obj_map, "Stranger", ARCH_REGISTRY.get("MSRResNet"))
    stranger = {"type": "Stranger", "num_feat": 8, "num_block": 1}
    (problem,) = building.find_refused_values(
        {"network_g": {"type": "GlobalSkip", "upscale": 2, "network": stranger}}
    )
    assert (
        "network_g cannot be used: GlobalSkip says: network: Stranger has a skip of its own"
        in str(problem)
    )


def test_what_the_machine_lacks_is_no_refusal(monkeypatch):
    def absent(_settings):
        raise FileNotFoundError("weights.pth")

    monkeypatch.setattr(building, "build_network", absent)
    assert list(building.find_refused_values({"network_g": SWINIR})) == []
