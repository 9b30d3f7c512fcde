"""Regions of an image from Segment Anything (Sec. IV, Eq. 16)."""

import numpy as np
import torch
from torch import Tensor

from basicsr_m2trans.apps.annotation.loading import load_pretrained
from basicsr_m2trans.apps.annotation.stages import Region, VisualControls

POINTS_AT_ONCE = 64
# Two masks that share more than this (intersection over union) are one region, found twice.
MAX_OVERLAP = 0.7


class SamSegmenter:
    """Segment Anything, asked at a grid of points (Eq. 16).

    Each point gives the mask that the model itself rates best among its three. Masks below the
    wanted quality are dropped; of masks that overlap the best rated remains. transformers' own mask
    generation does much the same, but fails where torchvision lacks its compiled operators, as
    beside a CPU-only torch.

    Args:
        name: folder or hub name of a `transformers.SamModel`.
        device: where it runs.

    Raises:
        InputError: the model cannot be loaded.
    """

    def __init__(self, name: str, device: torch.device) -> None:
        from transformers import SamModel, SamProcessor

        model, self.processor = load_pretrained(
            "segmentation model (SAM)", name, SamModel, SamProcessor
        )
        self.model = model.to(device)

    @torch.inference_mode()
    def __call__(self, image: np.ndarray, controls: VisualControls) -> list[Region]:
        """Regions of an image (h, w, 3), RGB, uint8, largest first; see `stages.Segmenter`."""
        height, width = image.shape[:2]
        # One object for each point: [image][object][point] -> x, y.
        objects = [[[point] for point in point_grid(height, width, controls.points)]]
        inputs = self.processor(
            image, input_points=objects, input_data_format="channels_last", return_tensors="pt"
        )
        sizes = inputs["original_sizes"], inputs["reshaped_input_sizes"]
        logits, qualities = self._masks(inputs["pixel_values"], inputs["input_points"])
        regions = []
        for index in distinct(logits > 0, qualities, controls.min_quality):
            # One at a time: at full resolution all together could take gigabytes.
            masks = logits[None, None, index : index + 1]
            mask = self.processor.post_process_masks(masks, *sizes)[0][0, 0].numpy()
            if mask.any() and mask.mean() >= controls.min_area:
                regions.append(Region(mask))
        return sorted(regions, key=lambda region: region.area, reverse=True)[: controls.regions]

    def _masks(self, pixel_values: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
        """The best mask at each of n points: logits (n, H, W) at model resolution, quality (n,)."""
        device, dtype = self.model.device, self.model.dtype
        embeddings = self.model.get_image_embeddings(pixel_values.to(device, dtype))
        logits, qualities = [], []
        for some in points.to(device, dtype).split(POINTS_AT_ONCE, dim=1):  # (1, n, 1, 2)
            output = self.model(
                image_embeddings=embeddings, input_points=some, multimask_output=True
            )
            quality, best = output.iou_scores[0].float().max(dim=-1)  # (n, 3) -> (n,)
            each = torch.arange(len(best), device=device)
            logits.append(output.pred_masks[0, each, best].float().cpu())
            qualities.append(quality.cpu())
        return torch.cat(logits), torch.cat(qualities)


def point_grid(height: int, width: int, points: int) -> list[list[float]]:
    """[x, y] in pixels of points x points centres of equal parts of the image, row by row."""
    fractions = (np.arange(points) + 0.5) / points
    return [[float(x * width), float(y * height)] for y in fractions for x in fractions]


def distinct(masks: Tensor, qualities: Tensor, min_quality: float) -> list[int]:
    """Indices of the masks to keep, best first: of those that overlap too much the best.

    Args:
        masks: (n, H, W) bool; empty ones are dropped.
        qualities: (n,); masks below `min_quality` are dropped.
    """
    flat = masks.flatten(1).float()  # (n, H W)
    areas = flat.sum(dim=1)
    shared = flat @ flat.T
    overlapping = shared > MAX_OVERLAP * (areas[:, None] + areas - shared)
    kept: list[int] = []
    for index in qualities.argsort(descending=True, stable=True).tolist():
        good = qualities[index] >= min_quality and areas[index] > 0
        if good and not overlapping[index, kept].any():
            kept.append(index)
    return kept
