"""`m2trans demo`: the main job from end to end on synthetic data; `make demo` runs it.

It uses nothing that a user would not: the library functions of the verbs, the launchers under
`basicsr/` and the option files under `options/demo/`.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

from basicsr_m2trans.utils.errors import InputError

HELP = "train, resume, test and compare a small M2Trans on phantoms, in the project's folder"

TRAIN_OPTIONS = Path("options/demo/train_M2Trans_x2.yml")
TEST_OPTIONS = Path("options/demo/test_M2Trans_x2.yml")
# The network that comes with the package, for the scale of the demo.
SHIPPED = "m2trans-x2"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The demo has no arguments; its settings are the files in options/demo."""


def run(args: argparse.Namespace) -> int:  # noqa: ARG001
    """Make the data, train half way, resume, test, and show the result beside bicubic.

    Works in the current directory, which must be the project's; writes below `datasets/demo`,
    `experiments` and `results`. An earlier demo's experiment is kept: BasicSR renames it.

    Raises:
        InputError: the current directory is not the project's, or a step failed.
    """
    start = time.monotonic()
    for path in (TRAIN_OPTIONS, TEST_OPTIONS, Path("basicsr/train.py")):
        if not path.is_file():
            raise InputError(
                f"{path} is not below the current directory; run the demo in the project's folder"
            )
    from basicsr_m2trans.apps.preparation.demo_data import DATA, SPLITS, make_demo_data
    from basicsr_m2trans.apps.report.demo_result import demo_result
    from basicsr_m2trans.utils.yaml_file import OptionFile

    train, test = OptionFile.read(TRAIN_OPTIONS).opt, OptionFile.read(TEST_OPTIONS).opt
    _title(f"Making phantoms, LR images, captions and LMDB in {DATA}")
    make_demo_data(train["scale"])
    half = train["train"]["total_iter"] // 2
    force = ("--force_yml", f"train:total_iter={half}")
    _launch(f"Training to iteration {half}", "train", TRAIN_OPTIONS, *force)
    _launch(f"Resuming to iteration {2 * half}", "train", TRAIN_OPTIONS, "--auto_resume")
    _launch("Testing", "test", TEST_OPTIONS)
    experiment = Path("experiments", train["name"])
    images = Path("results", test["name"], "visualization")
    picture = experiment / "comparison.png"
    upscaled = images / test["datasets"]["test_1"]["name"]
    table = demo_result(test, DATA / "val", upscaled, SHIPPED, picture)
    _title("Done")
    trained, unseen = (count for count, _ in SPLITS.values())
    print(
        f"A small M2Trans x{train['scale']} was trained on {trained} phantoms with the L1 and the "
        f"image-text semantic\nloss: {half} iterations, then resumed for {half} more, and measured "
        f"on {unseen} others.\n\n{table}\n\nMinutes of training show that everything works; they "
        f"do not make a good network. {SHIPPED} comes with the\npackage, was trained on ultrasound "
        "images (docs/models.md) and has never seen phantoms. The encoder of the\nsemantic loss is "
        "the embedded prior, a small one (docs/quality-prior.md); the paper's is MedCLIP.\n"
    )
    for name, place in (
        ("logs", ", ".join(map(str, sorted(experiment.glob("train_*.log"))))),
        ("checkpoint", experiment / "models/net_g_latest.pth"),
        ("images", images),
        ("picture", f"{picture} (HR | bicubic | M2Trans | {SHIPPED}, errors below)"),
        ("time", f"{time.monotonic() - start:.0f} s"),
    ):
        print(f"{name + ':':12}{place}")
    return 0


def _title(text: str) -> None:
    print(f"\n=== {text} ===", flush=True)


def _launch(title: str, mode: str, options: Path, *arguments: str) -> None:
    _title(title)
    command = [sys.executable, f"basicsr/{mode}.py", "-opt", str(options), *arguments]
    print(f"$ python {' '.join(command[1:])}", flush=True)
    status = subprocess.run(command, check=False).returncode
    if status:
        raise InputError(
            f"`{' '.join(command)}` ended with status {status}; its messages are above"
        )
