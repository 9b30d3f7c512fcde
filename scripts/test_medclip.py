"""Compare MedCLIPEncoder with the package medclip itself, at full size and with random weights.

Called twice by test_medclip.sh, because no environment can hold both: `package FOLDER` runs the
package on an old transformers and writes its checkpoint, inputs and results; `ours FOLDER` loads
the checkpoint and compares.
"""

import os
import sys
import zipfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
CHECKPOINT, RESULTS = "medclip-vit-pretrained.zip", "results.npz"
CAPTIONS = (
    "a picture of a nice, sharp, fine, clear, clean, cool, great ultrasound image",
    "A blurred Image of the LIVER (2.5 MHz); naïve",
    "",
)
TOLERANCE = 1e-4
# The package resizes 8-bit images, ours floating-point tensors, so that gradients pass: up to about
# a grey level apart where an image is resized or coloured, which moves an embedding by less than
# this.
ROUNDING_TOLERANCE = 1e-3


def make_images() -> dict[str, np.ndarray]:
    """Name -> (H, W, 3) uint8 image with structure at several scales, square like the patches."""
    generator = np.random.default_rng(0)

    def texture(side: int, channels: int) -> np.ndarray:
        coarse = Image.fromarray(generator.integers(0, 256, (7, 7, 3), dtype=np.uint8)).resize(
            (side, side)
        )
        image = np.asarray(coarse) * generator.uniform(0.6, 1, (side, side, 1))
        return np.repeat(image[..., :channels], 3 // channels, axis=-1).astype(np.uint8)

    return {"grey 224": texture(224, 1), "colour 224": texture(224, 3), "grey 384": texture(384, 1)}


def run_package(folder: Path) -> None:
    """Write the checkpoint of the package's own model and what it computes."""
    from basicsr_m2trans import compat

    os.chdir(folder)
    os.environ["TRANSFORMERS_OFFLINE"] = "1"
    compat.declare_torchvision_operators()
    import medclip
    import transformers
    from medclip import constants

    print(f"medclip {medclip.version} on transformers {transformers.__version__}")
    torch.manual_seed(0)
    # The package asks the hub for these names; folders of the same names come first.
    transformers.SwinModel(transformers.SwinConfig()).save_pretrained(constants.VIT_TYPE)
    transformers.BertModel(transformers.BertConfig(vocab_size=28996)).save_pretrained(
        constants.BERT_TYPE
    )
    vocabulary = (ROOT / "basicsr_m2trans/encoders/bert_base_cased_vocab.txt").read_bytes()
    Path(constants.BERT_TYPE, "vocab.txt").write_bytes(vocabulary)

    model = medclip.MedCLIPModel(vision_cls=medclip.MedCLIPVisionModelViT).eval()
    with torch.no_grad():
        for (
            parameter
        ) in model.parameters():  # a fresh model's biases and normalisations are all alike
            parameter.add_(torch.randn_like(parameter), alpha=0.02)
    torch.save(model.state_dict(), "pytorch_model.bin")
    with zipfile.ZipFile(CHECKPOINT, "w") as archive:
        archive.write("pytorch_model.bin")

    torch.Tensor.cuda = lambda self: (
        self
    )  # the package moves every input to the GPU, even without one
    processor, images = medclip.MedCLIPProcessor(), make_images()
    results: dict[str, np.ndarray] = {}
    with torch.no_grad():
        for name, image in images.items():
            inputs = processor(images=Image.fromarray(image), return_tensors="pt")
            results[f"image/{name}"] = model.encode_image(inputs["pixel_values"].float()).numpy()
        for caption in CAPTIONS:
            inputs = processor(text=[caption], return_tensors="pt")
            features = model.encode_text(inputs["input_ids"], inputs["attention_mask"])
            results[f"text/{caption}"] = features.numpy()
    np.savez(RESULTS, **results)


def compare(folder: Path) -> int:
    """Load the checkpoint strictly and print the largest differences; 1 if one is too large."""
    import transformers

    from basicsr_m2trans.encoders.medclip import MedCLIPEncoder

    print(f"MedCLIPEncoder on transformers {transformers.__version__}")
    encoder = MedCLIPEncoder(folder / CHECKPOINT)
    expected = np.load(folder / RESULTS)
    ours = {f"text/{caption}": encoder.encode_text([caption]).numpy() for caption in CAPTIONS}
    for name, image in make_images().items():
        tensor = torch.from_numpy(image).permute(2, 0, 1)[None] / 255
        ours[f"image/{name}"] = encoder.encode_image(tensor).numpy()
    failed = False
    for name, features in ours.items():
        exact = name.startswith("text/") or name == "image/grey 224"
        difference, limit = (
            np.abs(features - expected[name]).max(),
            TOLERANCE if exact else ROUNDING_TOLERANCE,
        )
        failed |= not difference <= limit
        print(f"{difference:.1e} (at most {limit:.0e})  {name}")
    return int(failed)


if __name__ == "__main__":
    side, output = sys.argv[1], Path(sys.argv[2])
    sys.exit(run_package(output) if side == "package" else compare(output))
