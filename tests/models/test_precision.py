import pytest
import torch

from basicsr_m2trans.models.precision import float32_products


def settings():
    return torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32


@pytest.mark.parametrize(
    ("tf32", "expected"), [(True, (True, True)), (False, (False, False)), (None, (True, False))]
)
def test_settings_hold_in_the_context_alone(tf32, expected):
    assert settings() == (True, False)  # PyTorch's defaults
    with float32_products(tf32):
        assert settings() == expected
    assert settings() == (True, False)
