import pytest

from basicsr_m2trans.apps.export.agreement import compare
from basicsr_m2trans.archs import M2Trans
from basicsr_m2trans.utils.errors import InputError


@pytest.fixture
def net():
    return M2Trans(2, num_feat=8, num_block=1).eval()


def test_finds_the_largest_difference(net):
    agreement = compare(net, 3, lambda image: net(image) + 0.25, 0.3, "out.onnx")
    assert agreement.difference == pytest.approx(0.25, abs=1e-6)
    assert agreement.exported_seconds > 0
    assert agreement.network_seconds > 0


@pytest.mark.parametrize(
    "wrong",
    [
        lambda result: result + 0.25,
        lambda result: result * float("nan"),
        lambda result: result[..., 1:],
    ],
    ids=["value", "nan", "shape"],
)
def test_refuses_a_result_that_is_wrong_at_one_size_only(net, wrong):
    def exported(image):
        return wrong(net(image)) if image.shape[-2:] == (20, 130) else net(image)

    with pytest.raises(InputError, match=r"out\.onnx was not written: on an image of 130 x 20"):
        compare(net, 3, exported, 1e-4, "out.onnx")
