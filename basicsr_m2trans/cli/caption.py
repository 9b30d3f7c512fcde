"""`m2trans caption`: text descriptions for a folder of images."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from basicsr_m2trans.cli.arguments import add_number
from basicsr_m2trans.utils.errors import InputError

if TYPE_CHECKING:
    import torch

    from basicsr_m2trans.apps.annotation.stages import Refiner, Stages

HELP = "write captions for a folder of images by the paper's templates or annotation pipeline"

KEY_VARIABLE = "M2TRANS_LLM_KEY"
ENCODER = (
    "{type: MedCLIPEncoder, checkpoint: experiments/pretrained_models/medclip-vit-pretrained.zip}"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("folder", type=Path, help="folder of images (png, jpg, bmp, tif, webp)")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE.csv", help="captions file to write"
    )
    parser.add_argument(
        "--method",
        choices=("template", "pipeline"),
        default="template",
        help="template: one of the paper's sentences with random quality words (default); "
        "pipeline: segmentation, captioning, refinement and scoring by the models below, with an "
        "HTML sheet to review; it goes on where an earlier run was interrupted",
    )
    add_number(parser, "--seed", 0, "start of all random numbers")

    models = parser.add_argument_group(
        "models of the pipeline (a folder, or a name on huggingface.co)"
    )
    for option, model in (
        ("--sam", "facebook/sam-vit-base"),
        ("--blip", "Salesforce/blip-image-captioning-base"),
        ("--llm", "Qwen/Qwen2.5-1.5B-Instruct"),
    ):
        models.add_argument(option, default=model, metavar="MODEL", help="default: %(default)s")
    models.add_argument(
        "--llm-url",
        metavar="URL",
        help="ask an OpenAI-compatible endpoint for the model --llm, such as "
        f"http://localhost:8000/v1; its key is in the environment variable {KEY_VARIABLE}",
    )
    add_number(models, "--llm-timeout", 60.0, "seconds to wait for an answer", "S")
    models.add_argument(
        "--encoder",
        default=ENCODER,
        metavar="ENTRY",
        help="encoder that scores, as an option file names it in the semantic loss (default: "
        "%(default)s)",
    )
    models.add_argument(
        "--device", default="auto", help="auto, cpu, cuda, cuda:1, ... (default: auto)"
    )

    visual = parser.add_argument_group("visual controls of the pipeline")
    add_number(visual, "--regions", 3, "largest regions to keep")
    add_number(visual, "--points", 16, "segment at N x N points")
    add_number(visual, "--min-quality", 0.88, "of a region, 0 to 1", "Q")
    add_number(visual, "--min-area", 0.01, "of a region, as part of the image", "A")

    language = parser.add_argument_group("language controls of the pipeline")
    add_number(language, "--length", 30, "words at most")
    language.add_argument("--language", default="English", help="default: English")
    language.add_argument(
        "--imagination",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="allow impressions",
    )
    language.add_argument(
        "--factuality",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="forbid organs and findings that the raw description does not name",
    )

    choice = parser.add_argument_group("choice of the pipeline")
    add_number(choice, "--repeats", 2, "descriptions of a region")
    add_number(
        choice,
        "--margin",
        0.01,
        "of the descriptions whose score is within D of the highest, the one of the largest "
        "region becomes the caption",
        "D",
    )


def run(args: argparse.Namespace) -> int:
    """Write the captions and print what was done."""
    if args.method == "template":
        return _write_templates(args)
    from basicsr_m2trans.apps.annotation.pipeline import Settings, annotate, check_files
    from basicsr_m2trans.apps.annotation.stages import LanguageControls, VisualControls

    settings = Settings(
        visual=VisualControls(args.points, args.min_quality, args.min_area, args.regions),
        language=LanguageControls(args.length, args.language, args.imagination, args.factuality),
        repeats=args.repeats,
        seed=args.seed,
        margin=args.margin,
        models={name: getattr(args, name) for name in ("sam", "blip", "llm", "llm_url", "encoder")},
    )
    check_files(args.folder, args.out, resumable=True)  # before minutes of loading models
    summary = annotate(args.folder, args.out, load_stages(args), settings)
    print(f"{args.out}: {summary.captions} captions, {summary.made} of them made in this run")
    print(f"{summary.sheet}: open it in a browser to review them")
    if summary.problems:
        print(f"{len(summary.problems)} images have no caption:")
        print("\n".join(f"  {problem}" for problem in summary.problems))
    return 0


def _write_templates(args: argparse.Namespace) -> int:
    from basicsr_m2trans.apps.annotation.pipeline import check_files
    from basicsr_m2trans.data.captions import make_caption, write_captions
    from basicsr_m2trans.utils.names import image_name

    names = [image_name(path.name) for path in check_files(args.folder, args.out)]
    write_captions(args.out, {name: make_caption(name, args.seed) for name in names})
    print(f"{args.out}: {len(names)} captions")
    return 0


def load_stages(args: argparse.Namespace) -> "Stages":
    """The pipeline's stages from the models that the arguments name.

    Raises:
        InputError: a model, the encoder or the device cannot be used; the message says why.
    """
    import yaml

    from basicsr_m2trans import compat
    from basicsr_m2trans.apps.annotation.captioning import BlipCaptioner
    from basicsr_m2trans.apps.annotation.loading import choose_device
    from basicsr_m2trans.apps.annotation.scoring import EncoderScorer
    from basicsr_m2trans.apps.annotation.segmentation import SamSegmenter
    from basicsr_m2trans.apps.annotation.stages import Stages
    from basicsr_m2trans.encoders import build_encoder

    compat.declare_torchvision_operators()  # transformers imports torchvision
    try:
        entry = yaml.safe_load(args.encoder)
    except yaml.YAMLError as error:
        text = f"--encoder {args.encoder}: is not YAML; write it like {ENCODER}"
        raise InputError(text) from error
    if not isinstance(entry, str | dict):
        raise InputError(f"--encoder {args.encoder}: write a name, or an entry like {ENCODER}")
    device = choose_device(args.device)
    # The encoder first: its file is fetched by hand and so is what is missing most often.
    score = EncoderScorer(build_encoder(entry), device)
    refine = _refiner(args, device)
    return Stages(SamSegmenter(args.sam, device), BlipCaptioner(args.blip, device), refine, score)


def _refiner(args: argparse.Namespace, device: "torch.device") -> "Refiner":
    import os

    from basicsr_m2trans.apps.annotation.chat_endpoint import ChatRefiner
    from basicsr_m2trans.apps.annotation.refinement import LocalRefiner

    if args.llm_url is None:
        return LocalRefiner(args.llm, device)
    return ChatRefiner(args.llm_url, args.llm, os.environ.get(KEY_VARIABLE), args.llm_timeout)
