import pytest
import torch

from basicsr_m2trans.archs.m2trans_arch import M2Trans
from basicsr_m2trans.options.checks import check_file


@pytest.fixture
def option_file(stored, tmp_path):
    """Writes weights of a network, and the demo's option file that starts from them."""

    def write(num_feat, prefix=""):
        weights = M2Trans(2, num_feat=num_feat, num_block=2).state_dict()
        torch.save(
            {"params": {prefix + name: value for name, value in weights.items()}},
            tmp_path / "net.pth",
        )
        path = stored([(64, 64)])
        text = path.read_text().replace(
            "pretrain_network_g: ~", f"pretrain_network_g: {tmp_path / 'net.pth'}"
        )
        path.write_text(text)
        return path

    return write


@pytest.mark.parametrize("prefix", ["", "module."])
def test_weights_of_the_network_are_accepted(prefix, option_file):
    assert check_file(option_file(num_feat=16, prefix=prefix)) is None


def test_weights_of_another_network_are_told_unless_loading_is_not_strict(option_file):
    path = option_file(num_feat=8)
    report = check_file(path)
    assert "path: pretrain_network_g cannot be used: " in report
    assert "head.weight has shape (8, 3, 3, 3), not (16, 3, 3, 3)" in report
    path.write_text(path.read_text().replace("strict_load_g: true", "strict_load_g: false"))
    assert check_file(path) is None
