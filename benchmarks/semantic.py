"""Time and memory of the image-text semantic loss, alone and as part of a training step.

MedCLIP has its real size and random weights: speed does not depend on them, and nothing is downloaded.
"""

import copy
import functools
import sys
from collections.abc import Callable, Sequence

import torch
from measuring import Report, parse_arguments, peak_memory
from networks import networks, training_step

from basicsr_m2trans.encoders.base import ImageTextEncoder
from basicsr_m2trans.encoders.medclip import MedCLIPEncoder, MedCLIPModel
from basicsr_m2trans.encoders.seeded_clip import SeededCLIPEncoder
from basicsr_m2trans.losses import ImageTextSemanticLoss

CAPTIONS = ("an ultrasound image of high quality", "a blurry ultrasound image with speckle noise")
QUICK_VISION = {"image_size": 224, "embed_dim": 24, "depths": [1, 1, 1, 1], "num_heads": [1, 2, 4, 8]}
QUICK_TEXT = {"vocab_size": 28996, "hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64}


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    args = parse_arguments(__doc__, argv)
    report = Report("semantic", args)
    patch = 64 if args.quick else 384
    names = ("SeededCLIP", "MedCLIP")
    losses = {name: ImageTextSemanticLoss(encoder(name, args.quick)) for name in names}
    shape = (len(CAPTIONS), 3, patch, patch)
    case = f"loss, forward and backward, batch {len(CAPTIONS)}, HR {patch}, K = 3"
    report.compare(case, {name: loss_alone(loss, shape) for name, loss in losses.items()})
    for name in names:
        report.add(case, f"{name}, peak memory", "MiB", [peak_memory(make_loss_alone, name, args.quick, shape)])

    medclip = losses["MedCLIP"]
    report.compare(
        f"text features of {len(CAPTIONS)} captions, MedCLIP",
        {
            "encoded": functools.partial(medclip.encoder.encode_text, CAPTIONS),
            "seen before": functools.partial(medclip._encode_captions, CAPTIONS, torch.device("cpu")),
        },
    )

    _, network = networks(2, args.quick)
    x = torch.rand(len(CAPTIONS), 3, patch // 2, patch // 2)
    steps = {"L1": training_step(network, x)}
    for name, loss in losses.items():
        semantic = functools.partial(loss, captions=CAPTIONS)
        steps[f"L1 and semantic loss, {name}"] = training_step(copy.deepcopy(network), x, semantic_loss=semantic)
    case = f"training step x2, batch {len(CAPTIONS)}, HR {patch}"
    report.compare(case, steps)
    for name in names:
        share = 100 * (1 - report.median("L1") / report.median(f"L1 and semantic loss, {name}"))
        report.add(case, f"share of the semantic loss, {name}", "%", [share])
    return report.finish()


def encoder(name: str, quick: bool) -> ImageTextEncoder:
    """One of the two encoders."""
    if name == "SeededCLIP":
        return SeededCLIPEncoder()
    return MedCLIPEncoder(model=MedCLIPModel(QUICK_VISION, QUICK_TEXT) if quick else MedCLIPModel())


def loss_alone(loss: ImageTextSemanticLoss, shape: tuple[int, ...]) -> Callable[[], None]:
    """Value and gradient to the SR image."""
    hr = torch.rand(shape)
    sr = torch.rand(shape, requires_grad=True)

    def run() -> None:
        loss(sr, hr, CAPTIONS).backward()

    return run


def make_loss_alone(name: str, quick: bool, shape: tuple[int, ...]) -> Callable[[], None]:
    """The same in a fresh process, with the captions' features in memory, as they are after the first step."""
    loss = ImageTextSemanticLoss(encoder(name, quick))
    loss._encode_captions(CAPTIONS, torch.device("cpu"))
    return loss_alone(loss, shape)


if __name__ == "__main__":
    sys.exit(main())
