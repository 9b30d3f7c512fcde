"""The main job from end to end on synthetic data: phantoms, training with both losses, resume,
test, comparison.

`make demo` runs it. It uses nothing that a user would not: `m2trans prepare`'s library function,
the launchers under `basicsr/` and the option files under `options/demo/`.
"""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from basicsr_m2trans.utils.errors import InputError

TRAIN_OPTIONS = Path("options/demo/train_M2Trans_x2.yml")
TEST_OPTIONS = Path("options/demo/test_M2Trans_x2.yml")
DATA = Path("datasets/demo")
# The network that comes with the package, for the scale of the demo.
SHIPPED = "m2trans-x2"
# Images per split, and the first phantom seed of each, so that no image is in both.
SPLITS = {"train": (40, 0), "val": (4, 1000)}


def run_demo() -> None:
    """Make the data, train half way, resume to the end, test, and print and draw the result beside
    bicubic.

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
    train, test = _read(TRAIN_OPTIONS), _read(TEST_OPTIONS)
    _make_data(train["scale"])
    half = train["train"]["total_iter"] // 2
    _launch(
        f"Training to iteration {half}",
        "train",
        TRAIN_OPTIONS,
        "--force_yml",
        f"train:total_iter={half}",
    )
    _launch(f"Resuming to iteration {2 * half}", "train", TRAIN_OPTIONS, "--auto_resume")
    _launch("Testing", "test", TEST_OPTIONS)
    experiment, results = Path("experiments", train["name"]), Path("results", test["name"])
    table, picture = _compare(test, results / "visualization", experiment, SHIPPED)
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
    logs = sorted(experiment.glob("train_*.log"))
    for name, place in (
        ("logs", ", ".join(map(str, logs))),
        ("checkpoint", experiment / "models/net_g_latest.pth"),
        ("images", results / "visualization"),
        ("picture", f"{picture} (LR bicubic | M2Trans | {SHIPPED} | HR)"),
    ):
        print(f"{name + ':':12}{place}")
    print(f"{'time:':12}{time.monotonic() - start:.0f} s")


def _read(path: Path) -> dict[str, Any]:
    import yaml

    return yaml.safe_load(path.read_text(encoding="utf-8"))


def _title(text: str) -> None:
    print(f"\n=== {text} ===", flush=True)


def _make_data(scale: int) -> None:
    from basicsr_m2trans.apps.preparation.phantom import write_phantoms
    from basicsr_m2trans.apps.preparation.prepare import prepare

    _title(f"Making phantoms, LR images, captions and LMDB in {DATA}")
    for split, (count, seed) in SPLITS.items():
        images = DATA / "images" / split
        if len(list(images.glob("*.png"))) != count:
            write_phantoms(images, count, seed=seed)
        prepare(images, DATA / split, scales=(scale,))


def _launch(title: str, mode: str, options: Path, *arguments: str) -> None:
    _title(title)
    command = [sys.executable, f"basicsr/{mode}.py", "-opt", str(options), *arguments]
    print(f"$ python {' '.join(command[1:])}", flush=True)
    status = subprocess.run(command, check=False).returncode
    if status:
        raise InputError(
            f"`{' '.join(command)}` ended with status {status}; its messages are above"
        )


def _compare(
    test: dict[str, Any], visualization: Path, experiment: Path, shipped: str
) -> tuple[str, Path]:
    """Table of the option file's metrics for bicubic and both networks, and a picture of the first
    image.
    """
    from basicsr_m2trans import register

    register()
    from basicsr.metrics import calculate_metric

    from basicsr_m2trans import Upscaler
    from basicsr_m2trans.data.images import encode_png
    from basicsr_m2trans.utils.atomic import write_atomic

    upscaler = Upscaler.from_checkpoint(shipped)
    metrics = test["val"]["metrics"]
    scores: dict[str, list[list[float]]] = {"bicubic": [], "M2Trans": [], shipped: []}
    panels = []
    for hr_file in sorted((DATA / "val/HR").glob("*.png")):
        hr = _read_image(hr_file)
        lr = _read_image(
            DATA / f"val/LR_bicubic/X{test['scale']}/{hr_file.stem}x{test['scale']}.png"
        )
        (sr_file,) = (visualization / test["datasets"]["test_1"]["name"]).glob(
            f"{hr_file.stem}_*.png"
        )
        # Phantoms are grey, so that the order of the channels does not matter.
        images = {
            "bicubic": upscaler.bicubic(lr),
            "M2Trans": _read_image(sr_file),
            shipped: upscaler(lr),
        }
        for method, image in images.items():
            data = {"img": image, "img2": hr}
            scores[method].append([calculate_metric(data, options) for options in metrics.values()])
        panels.append(_panel(images | {"HR": hr}))
    picture = experiment / "comparison.png"
    write_atomic(picture, encode_png(panels[0]))
    rows = [f"{'':10}" + "".join(f"{name.upper():>10}" for name in metrics)]
    for method, values in scores.items():
        rows.append(f"{method:10}" + "".join(f"{value:10.4f}" for value in np.mean(values, axis=0)))
    return "\n".join(rows), picture


def _read_image(path: Path) -> np.ndarray:
    """(h, w, 3), blue, green, red, uint8, of grey files too."""
    import cv2

    image = cv2.imread(str(path))
    if image is None:
        raise InputError(f"{path}: cannot be read as an image; delete it and run the demo again")
    return image


def _panel(images: dict[str, np.ndarray], side: int = 96) -> np.ndarray:
    """The named images side by side, and below each the square in which bicubic and HR differ most,
    enlarged.
    """
    import cv2

    difference = cv2.absdiff(images["bicubic"], images["HR"]).mean(axis=2)
    error = cv2.boxFilter(difference, -1, (side, side), anchor=(0, 0))[:-side, :-side]
    top, left = np.unravel_index(error.argmax(), error.shape)
    columns = []
    for name, image in images.items():
        width = image.shape[1]
        title = np.zeros((28, width, 3), np.uint8)
        cv2.putText(
            title, name, (8, 20), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (255, 255, 255), 1, cv2.LINE_AA
        )
        detail = image[top : top + side, left : left + side]
        enlarged = cv2.resize(detail, (width, width), interpolation=cv2.INTER_NEAREST)
        framed = cv2.rectangle(
            image.copy(), (left, top), (left + side, top + side), (0, 220, 255), 1
        )
        columns.append(np.vstack([title, framed, enlarged]))
    return np.hstack(columns)
