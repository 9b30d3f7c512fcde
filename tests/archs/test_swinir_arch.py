import torch

from basicsr_m2trans import compat


def test_swinir_takes_any_size_and_is_otherwise_itself():
    compat.apply()
    from basicsr.archs.swinir_arch import SwinIR

    from basicsr_m2trans.archs.swinir_arch import PaddedSwinIR

    settings = {"embed_dim": 12, "depths": [2], "num_heads": [2], "upscale": 2}
    settings |= {"window_size": 8, "upsampler": "pixelshuffle"}
    net, stock = PaddedSwinIR(**settings).eval(), SwinIR(**settings).eval()
    stock.load_state_dict(net.state_dict())
    x = torch.rand(1, 3, 8, 3)
    with torch.no_grad():
        small, reflected = net(x), stock(x[..., [0, 1, 2, 1, 0, 1, 2, 1]])
    torch.testing.assert_close(small, reflected[..., :6])
