"""Batches on their way to the GPU."""

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

import basicsr_m2trans

pytestmark = pytest.mark.gpu

basicsr_m2trans.register()

from basicsr.data.prefetch_dataloader import CUDAPrefetcher  # noqa: E402


class Numbered(Dataset):
    """Items as `PairedImageTextDataset` has them; pixels are the item's number."""

    def __len__(self):
        return 6

    def __getitem__(self, index):
        image = torch.full((3, 64, 64), float(index))
        return {
            "lq": image[:, ::2, ::2],
            "gt": image,
            "text": f"image {index}",
            "lq_path": f"{index}.png",
        }


@pytest.mark.parametrize("num_workers", [0, 2])
def test_basicsr_s_prefetcher_passes_pinned_batches_on_in_order(num_workers):
    loader = DataLoader(Numbered(), batch_size=2, pin_memory=True, num_workers=num_workers)
    assert next(iter(loader))["gt"].is_pinned()
    prefetcher = CUDAPrefetcher(loader, {"num_gpu": 1})
    for _ in range(2):  # an epoch after the other
        prefetcher.reset()
        for first in (0, 2, 4):
            batch = prefetcher.next()
            assert batch["gt"].device.type == batch["lq"].device.type == "cuda"
            assert batch["gt"][:, 0, 0, 0].tolist() == [first, first + 1]
            assert batch["text"] == [f"image {first}", f"image {first + 1}"]
        assert prefetcher.next() is None
