"""Time and memory of the image-text semantic loss, alone and as part of a training step.

MedCLIP and OpenCLIP have random weights: speed does not depend on them, and nothing is downloaded.
MedCLIP has its real size. OpenCLIP has BiomedCLIP's image tower, a ViT-B/16 for 224x224 pixels, but
a small text tower, which runs once for each caption and takes no part in a step; it is left out
where the extra `open-clip` is not installed.
"""

import copy
import functools
import importlib.util
import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from arguments import parse_arguments, run_script
from floors import measure_rates
from measuring import peak_memory
from networks import NetworkRun, networks, training_step
from reporting import Report

from basicsr_m2trans import compat
from basicsr_m2trans.encoders.base import ImageTextEncoder, resize
from basicsr_m2trans.encoders.medclip import MedCLIPEncoder, MedCLIPModel
from basicsr_m2trans.encoders.open_clip import OpenCLIPEncoder
from basicsr_m2trans.encoders.quality_clip import QualityCLIPEncoder
from basicsr_m2trans.encoders.seeded_clip import SeededCLIPEncoder
from basicsr_m2trans.losses import ImageTextSemanticLoss

CAPTIONS = ("an ultrasound image of high quality", "a blurry ultrasound image with speckle noise")
QUICK_VISION = {
    "image_size": 224,
    "embed_dim": 24,
    "depths": [1, 1, 1, 1],
    "num_heads": [1, 2, 4, 8],
}
QUICK_TEXT = {
    "vocab_size": 28996,
    "hidden_size": 32,
    "num_attention_heads": 2,
    "intermediate_size": 64,
}
OPEN_CLIP = {
    "embed_dim": 512,
    "vision_cfg": {
        "timm_model_name": "vit_base_patch16_224",
        "timm_pool": "",
        "timm_proj": "linear",
        "image_size": 224,
    },
    "text_cfg": {"width": 64, "heads": 2, "layers": 1},
}
QUICK_OPEN_CLIP = OPEN_CLIP | {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 64},
}


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    args = parse_arguments(__doc__, argv)
    encoders: dict[str, Callable[[], ImageTextEncoder]] = {
        "SeededCLIP": SeededCLIPEncoder,
        "QualityCLIP": QualityCLIPEncoder,
        "MedCLIP": functools.partial(random_medclip, args.quick),
    }
    with tempfile.TemporaryDirectory() as folder:
        if importlib.util.find_spec("open_clip"):
            write_open_clip(Path(folder), args.quick)
            encoders["OpenCLIP"] = functools.partial(OpenCLIPEncoder, f"local-dir:{folder}")
        return measure(
            Report("semantic", args, measure_rates(args.device, args.quick)), encoders, args.quick
        )


def measure(
    report: Report, encoders: dict[str, Callable[[], ImageTextEncoder]], quick: bool
) -> int:
    """The loss alone, captions, and training steps; `encoders` holds what makes each encoder."""
    patch, device = 64 if quick else 384, report.device
    losses = {name: ImageTextSemanticLoss(make()).to(device) for name, make in encoders.items()}
    shape = (len(CAPTIONS), 3, patch, patch)
    case = f"loss, forward and backward, batch {len(CAPTIONS)}, HR {patch}, K = 3"
    report.compare(case, {name: loss_alone(loss, shape, device) for name, loss in losses.items()})
    for name, make in encoders.items():
        weights = sum(weight.nbytes for weight in losses[name].state_dict().values())
        report.add(case, f"{name}, weights", "MiB", [weights / 2**20])
        peak = peak_memory(device, make_loss_alone, make, shape, device)
        report.add(case, f"{name}, peak memory beside the weights", "MiB", [peak])

    medclip = losses["MedCLIP"]
    report.compare(
        f"text features of {len(CAPTIONS)} captions, MedCLIP",
        {
            "encoded": NetworkRun(functools.partial(medclip.encoder.encode_text, CAPTIONS)),
            "seen before": functools.partial(medclip._encode_captions, CAPTIONS, device),
        },
    )

    _, network = networks(2, quick, device)
    x = torch.rand(len(CAPTIONS), 3, patch // 2, patch // 2, device=device)
    steps = {"L1": training_step(network, x)}
    for name, loss in losses.items():
        semantic = functools.partial(loss, captions=CAPTIONS)
        steps[f"L1 and semantic loss, {name}"] = training_step(
            copy.deepcopy(network), x, semantic_loss=semantic
        )
    case = f"training step x2, batch {len(CAPTIONS)}, HR {patch}"
    report.compare(case, steps)
    for name in losses:
        share = 100 * (1 - report.median("L1") / report.median(f"L1 and semantic loss, {name}"))
        report.add(case, f"share of the semantic loss, {name}", "%", [share])
    return report.finish()


def random_medclip(quick: bool) -> MedCLIPEncoder:
    """MedCLIP with random weights."""
    return MedCLIPEncoder(model=MedCLIPModel(QUICK_VISION, QUICK_TEXT) if quick else MedCLIPModel())


def write_open_clip(folder: Path, quick: bool) -> None:
    """A CLIP with random weights as a local folder of open_clip."""
    compat.declare_torchvision_operators()  # open_clip imports torchvision
    import open_clip

    config = QUICK_OPEN_CLIP if quick else OPEN_CLIP
    statistics = {"mean": open_clip.OPENAI_DATASET_MEAN, "std": open_clip.OPENAI_DATASET_STD}
    content = {"model_cfg": config, "preprocess_cfg": statistics}
    (folder / "open_clip_config.json").write_text(json.dumps(content), encoding="utf-8")
    torch.save(open_clip.CLIP(**config).state_dict(), folder / "open_clip_pytorch_model.bin")


def literal_semantic_loss(
    encoder: ImageTextEncoder,
    sr: torch.Tensor,
    hr: torch.Tensor,
    captions: Sequence[str],
    corners: torch.Tensor | None = None,
) -> torch.Tensor:
    """Eq. 11-14 as they stand: patch by patch, the captions encoded anew.

    Args:
        encoder: of images and captions.
        sr, hr: (N, 3, H, W).
        captions: N texts.
        corners: (N, K - 1, 2), top and left pixel of each crop; random ones, K = 3, if not given.
    """
    size = min(224, *hr.shape[-2:])
    if corners is None:
        corners = torch.stack(
            [torch.randint(length - size + 1, (len(hr), 2)) for length in hr.shape[-2:]], dim=-1
        )
    text = encoder.encode_text(captions)
    loss = torch.zeros((), device=sr.device)
    for k in range(-1, corners.shape[1]):
        similarities = []
        for images in (sr, hr):
            if k >= 0:
                places = zip(images, corners[:, k].tolist(), strict=True)
                images = torch.stack(
                    [
                        image[:, top : top + size, left : left + size]
                        for image, (top, left) in places
                    ]
                )
            similarities.append((encoder.encode_image(resize(images, 224)) * text).sum(dim=-1))
        loss = loss + (similarities[0] - similarities[1]).abs().sum() / (corners.shape[1] + 1)
    return 0.01 * loss


def loss_alone(
    loss: ImageTextSemanticLoss, shape: tuple[int, ...], device: torch.device
) -> NetworkRun:
    """Value and gradient to the SR image."""
    hr = torch.rand(shape, device=device)
    sr = torch.rand(shape, device=device, requires_grad=True)
    return NetworkRun(lambda: loss(sr, hr, CAPTIONS).backward())


def make_loss_alone(
    make_encoder: Callable[[], ImageTextEncoder], shape: tuple[int, ...], device: torch.device
) -> NetworkRun:
    """The same in a fresh process, with the captions' features known as after the first step."""
    loss = ImageTextSemanticLoss(make_encoder()).to(device)
    loss._encode_captions(CAPTIONS, device)
    return loss_alone(loss, shape, device)


if __name__ == "__main__":
    run_script(main)
