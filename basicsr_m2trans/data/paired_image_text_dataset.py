"""The data set of training and validation: pairs of LR and HR images with their captions."""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset

from basicsr_m2trans.data.images import read_image, to_tensor
from basicsr_m2trans.data.lmdb_store import LmdbReader, Window
from basicsr_m2trans.data.pairs import (
    Pair,
    captions_of,
    pairs_from_folders,
    pairs_from_lmdbs,
    pairs_from_meta_info,
    size_problem,
    size_text,
)
from basicsr_m2trans.data.patch_degradation import PatchDegradation
from basicsr_m2trans.utils.errors import InputError
from basicsr_m2trans.utils.names import first_few


class PairedImageTextDataset(Dataset):
    """BasicSR's paired image data set plus a caption for each image (Sec. IV and V-A).

    Pairs are named in one of three ways, as in BasicSR's PairedImageDataset: by the keys of two
    LMDB folders (`io_backend: {type: lmdb}`), by a `meta_info_file`, or by scanning two folders.

    Every item depends on its index alone: with `n = len(dataset)`, `dataset[i + k * n]` is image i
    at draw k, its random crop and augmentation drawn from `numpy.random.default_rng([seed, i, k])`.
    So crops do not depend on the number of workers, and an interrupted training goes on with
    exactly the crops it would have had. A sampler that asks for indices below n only, such as
    BasicSR's EnlargedSampler, gets the same crop of each image in every epoch; one that knows this
    contract (`numbered_draws`) adds `epoch * n`. Iterating yields draw 0 of each image.

    In the train phase a patch is cropped at random, then flipped horizontally, flipped vertically
    and rotated by 90 degrees, each with probability 1/2, and last of all degraded, if `degradation`
    is set. In other phases there is no randomness, and the HR image is cropped right and bottom to
    `scale` times the LR size.

    Args:
        opt: options, named as in BasicSR:
            dataroot_gt, dataroot_lq (str): folders or LMDB folders of the HR and the LR images.
            io_backend (dict): `type` is `disk` or `lmdb` (see `lmdb_store`).
            meta_info_file (str): optional; `<file> (h,w,c)` in each line, relative to dataroot_gt.
            filename_tmpl (str): LR name without extension; default `{}`, which is the HR name.
            scale (int): HR size over LR size. BasicSR fills it in.
            phase (str): `train`, or another for validation and testing. BasicSR fills it in.
            gt_size (int): train phase: side of the square HR patch, a multiple of `scale`.
            use_hflip (bool): train phase: flip horizontally.
            use_rot (bool): train phase: flip vertically and rotate.
            degradation (dict): train phase: optional arguments of `PatchDegradation`.
            captions (str): optional captions file; see `captions.read_captions`.
            default_caption (str): optional text of the images that have none in `captions`.
            seed (int): optional; default `torch.initial_seed()` at construction.

    Items are dicts of `lq` (3, h, w) and `gt` (3, h * scale, w * scale), float32 RGB tensors in [0,
    1]; `text`, the caption, absent if neither `captions` nor `default_caption` is set; `lq_path`
    and `gt_path`, the files or LMDB keys.

    Raises:
        InputError: an option is missing or impossible; a path does not exist; HR and LR images do
            not pair up; a size does not fit `scale` or `gt_size`; an image has no caption. The
            headers of all images are checked, so that only a damaged file can stop a training.
    """

    numbered_draws = True

    def __init__(self, opt: dict) -> None:
        self.opt = opt
        _check_options(opt)
        self.scale = opt["scale"]
        self.training = opt["phase"] == "train"
        seed = opt.get("seed")
        self.seed = torch.initial_seed() if seed is None else seed
        self.degrade = PatchDegradation(**opt.get("degradation") or {"probability": 0.0})

        gt_root, lq_root = (Path(opt[key]).expanduser() for key in ("dataroot_gt", "dataroot_lq"))
        template = opt.get("filename_tmpl") or "{}"
        self._stores = None
        if opt["io_backend"]["type"] == "lmdb":
            self._stores = {"gt": LmdbReader(gt_root), "lq": LmdbReader(lq_root)}
            self.pairs = pairs_from_lmdbs(self._stores["gt"], self._stores["lq"])
        elif opt.get("meta_info_file"):
            meta_info_file = Path(opt["meta_info_file"]).expanduser()
            self.pairs = pairs_from_meta_info(gt_root, lq_root, meta_info_file, template)
        else:
            self.pairs = pairs_from_folders(gt_root, lq_root, template)
        self._check_sizes()

        captions, default = opt.get("captions"), opt.get("default_caption")
        self.texts = None
        if captions or default is not None:
            file = Path(captions).expanduser() if captions else None
            self.texts = captions_of([pair.name for pair in self.pairs], file, default)

    def __len__(self) -> int:
        return len(self.pairs)

    def __iter__(self) -> Iterator[dict]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> dict:
        if index < 0:
            raise IndexError(
                f"index {index} is negative; an item's index is image number + draw * {len(self)}"
            )
        draw, number = divmod(int(index), len(self))
        pair = self.pairs[number]
        rng = np.random.default_rng([self.seed, number, draw]) if self.training else None
        lq_window = self._lq_window(pair, rng)
        rows, columns = (
            slice(part.start * self.scale, part.stop * self.scale) for part in lq_window
        )
        lq = self._read("lq", pair.lq_path, pair.lq_size, lq_window)
        gt = self._read("gt", pair.gt_path, pair.gt_size, (rows, columns))
        if rng is not None:
            lq, gt = self._augment((lq, gt), rng)
            lq, gt = self.degrade(lq, gt, rng)
        item = {
            "lq": to_tensor(lq),
            "gt": to_tensor(gt),
            "lq_path": pair.lq_path,
            "gt_path": pair.gt_path,
        }
        if self.texts is not None:
            item["text"] = self.texts[number]
        return item

    def _lq_window(self, pair: Pair, rng: np.random.Generator | None) -> Window:
        if rng is None:
            height, width = pair.lq_size
            return slice(0, height), slice(0, width)
        size = self.opt["gt_size"] // self.scale
        top, left = (int(rng.integers(length - size + 1)) for length in pair.lq_size)
        return slice(top, top + size), slice(left, left + size)

    def _read(self, side: str, path: str, size: tuple[int, int], window: Window) -> np.ndarray:
        if self._stores is not None:
            return self._stores[side].image(path, window)
        image = read_image(path)
        if image.shape[:2] != size:
            raise InputError(
                f"{path}: is {size_text(image.shape[:2])} but was announced as {size_text(size)}; "
                "make the data set again, and do not change it while it is in use"
            )
        return image[window]

    def _augment(self, patches: Sequence[np.ndarray], rng: np.random.Generator) -> list[np.ndarray]:
        hflip, vflip, rotate = rng.random(3) < 0.5
        augmented = []
        for patch in patches:
            if hflip and self.opt["use_hflip"]:
                patch = cv2.flip(patch, 1)
            if vflip and self.opt["use_rot"]:
                patch = cv2.flip(patch, 0)
            if rotate and self.opt["use_rot"]:
                patch = cv2.rotate(patch, cv2.ROTATE_90_COUNTERCLOCKWISE)
            # OpenCV drops the axis of a single channel.
            augmented.append(patch.reshape(*patch.shape[:2], -1))
        return augmented

    def _check_sizes(self) -> None:
        # Outside training BasicSR crops HR images that `scale` does not divide; more than that is
        # the wrong scale.
        checked = [
            pair
            for pair in self.pairs
            if self.training or tuple(side // self.scale for side in pair.gt_size) != pair.lq_size
        ]
        self._refuse([problem for pair in checked if (problem := size_problem(pair, self.scale))])
        if self.training:
            patch = self.opt["gt_size"]
            too_small = f"smaller than the patch of gt_size {patch} x {patch}"
            self._refuse(
                [
                    f"{pair.gt_path} is {size_text(pair.gt_size)}, {too_small}"
                    for pair in self.pairs
                    if min(pair.gt_size) < patch
                ],
                f"; lower gt_size, or leave small images out by m2trans prepare --min-side {patch}",
            )

    def _refuse(self, problems: list[str], advice: str = "") -> None:
        if problems:
            raise InputError(
                f"{self.opt['dataroot_gt']}: {len(problems)} of {len(self.pairs)} images do not "
                f"fit: {first_few(problems)}{advice}"
            )


def _check_options(opt: dict) -> None:
    required = ["dataroot_gt", "dataroot_lq", "io_backend", "scale", "phase"]
    if opt.get("phase") == "train":
        required += ["gt_size", "use_hflip", "use_rot"]
    missing = [key for key in required if opt.get(key) is None]
    if missing:
        raise InputError(
            f"the data set lacks the option{'s' if len(missing) > 1 else ''} {', '.join(missing)}"
        )
    if opt["io_backend"] not in ({"type": "disk"}, {"type": "lmdb"}):
        raise InputError(
            f"io_backend: is {opt['io_backend']!r}; use {{type: disk}} or {{type: lmdb}}"
        )
    for key, minimum in (("scale", 1), ("gt_size", 1), ("seed", 0)):
        value = opt.get(key)
        if value is not None and (not isinstance(value, int) or value < minimum):
            raise InputError(f"{key}: {value!r} is not a whole number of at least {minimum}")
    if opt["phase"] == "train" and opt["gt_size"] % opt["scale"]:
        raise InputError(f"gt_size: {opt['gt_size']} is not a multiple of scale {opt['scale']}")
    degradation = opt.get("degradation") or {}
    unknown = degradation.keys() - {field.name for field in dataclasses.fields(PatchDegradation)}
    if unknown:
        raise InputError(f"degradation: unknown keys {', '.join(sorted(unknown))}")
    absent = [
        f"{key}: {opt[key]}"
        for key in ("dataroot_gt", "dataroot_lq", "meta_info_file", "captions")
        if opt.get(key) and not Path(opt[key]).expanduser().exists()
    ]
    if absent:
        raise InputError(f"these paths of the data set do not exist: {'; '.join(absent)}")
