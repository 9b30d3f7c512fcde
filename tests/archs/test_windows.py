import torch

from basicsr_m2trans.archs.windows import from_windows, to_windows


def test_windows_and_back():
    x = torch.arange(2 * 3 * 8 * 12).view(2, 3, 8, 12)
    windows = to_windows(x, 4)
    assert windows.shape == (2, 6, 16, 3)
    assert torch.equal(windows[0, 4].T.view(3, 4, 4), x[0, :, 4:, 4:8])
    assert torch.equal(from_windows(windows, x.shape), x)
