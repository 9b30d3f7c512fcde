import itertools
import pickle
import random
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from basicsr_m2trans import compat
from basicsr_m2trans.data.captions import write_captions
from basicsr_m2trans.data.images import encode_png
from basicsr_m2trans.data.lmdb_store import write_lmdb
from basicsr_m2trans.data.paired_image_text_dataset import PairedImageTextDataset
from basicsr_m2trans.utils.errors import InputError

COUNT = 6
SCALE = 2


def same_item(first, second):
    return (
        first.keys() == second.keys()
        and torch.equal(first["lq"], second["lq"])
        and torch.equal(first["gt"], second["gt"])
        and first.get("text") == second.get("text")
    )


@pytest.mark.parametrize("backend", ["disk", "lmdb"])
def test_training_patches_are_aligned_and_captioned(request, backend):
    dataset = PairedImageTextDataset(request.getfixturevalue(backend))
    assert len(dataset) == COUNT
    for index in range(5 * COUNT):
        item = dataset[index]
        assert item["lq"].shape == (3, 8, 8)
        assert item["gt"].shape == (3, 16, 16)
        assert item["lq"].dtype == item["gt"].dtype == torch.float32
        assert torch.equal(item["gt"][:, ::2, ::2], item["lq"])
        assert torch.equal(item["gt"][:, 1::2, 1::2], item["lq"])
        assert torch.equal(item["lq"][2] * 255, torch.full((8, 8), float(index % COUNT)))
        assert item["text"] == f"image {index % COUNT}"


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    scale=st.sampled_from([2, 3, 4]),
    patch=st.integers(1, 8),
    margins=st.tuples(st.integers(0, 5), st.integers(0, 5)),
    channels=st.sampled_from([1, 3]),
    augmentation=st.fixed_dictionaries({"use_hflip": st.booleans(), "use_rot": st.booleans()}),
    seed=st.integers(0, 2**31),
    index=st.integers(0, 10**9),
)
def test_any_draw_is_aligned(
    save_image, random_image, scale, patch, margins, channels, augmentation, seed, index
):
    """At every scale, for LR patches of any size, in images that are hardly larger."""
    lq = random_image(patch + margins[0], patch + margins[1], channels)
    with tempfile.TemporaryDirectory() as folder:
        save_image(Path(folder, "lq/a.png"), lq)
        save_image(Path(folder, "gt/a.png"), lq.repeat(scale, axis=0).repeat(scale, axis=1))
        opt = {
            "dataroot_gt": f"{folder}/gt",
            "dataroot_lq": f"{folder}/lq",
            "io_backend": {"type": "disk"},
            "scale": scale,
            "phase": "train",
            "gt_size": scale * patch,
            "seed": seed,
        }
        item = PairedImageTextDataset(opt | augmentation)[index]
    assert item["lq"].shape == (3, patch, patch)
    assert torch.equal(
        item["gt"], item["lq"].repeat_interleave(scale, 1).repeat_interleave(scale, 2)
    )


def test_paths_are_files_or_keys(disk, lmdb, tmp_path):
    item = PairedImageTextDataset(disk)[1]
    assert (item["gt_path"], item["lq_path"]) == (
        str(tmp_path / "gt/0001.png"),
        str(tmp_path / "lq/0001x2.png"),
    )
    item = PairedImageTextDataset(lmdb)[1]
    assert (item["gt_path"], item["lq_path"]) == ("0001", "0001")


def test_all_ways_of_naming_pairs_give_the_same_items(disk, lmdb, tmp_path):
    path = tmp_path / "meta_info.txt"
    path.write_text("".join(f"{number:04d}.png (32,40,3)\n" for number in range(COUNT)))
    datasets = [
        PairedImageTextDataset(opt) for opt in (disk, lmdb, disk | {"meta_info_file": str(path)})
    ]
    for index in (0, 3, COUNT + 3):
        first, *others = (dataset[index] for dataset in datasets)
        assert all(same_item(first, other) for other in others)


@pytest.mark.parametrize("phase", ["train", "val"])
def test_raw_pixels_give_the_same_items_as_png(lmdb, raw_lmdb, phase):
    png, raw = (PairedImageTextDataset(opt | {"phase": phase}) for opt in (lmdb, raw_lmdb))
    for index in range(10 * COUNT):
        item = raw[index]
        assert same_item(item, png[index])
        assert (item["gt_path"], item["lq_path"]) == (png[index]["gt_path"], png[index]["lq_path"])


@pytest.mark.parametrize(("channels", "dtype"), [(1, np.uint8), (1, np.uint16), (3, np.uint16)])
@pytest.mark.parametrize("phase", ["train", "val"])
def test_raw_pixels_of_every_format_give_the_same_items_as_png(
    lmdb, raw_lmdb, random_image, doubled, phase, channels, dtype
):
    lq = random_image(9, 11, channels, dtype=dtype)
    larger = np.pad(doubled(lq), ((0, 1), (0, 1), (0, 0))) if phase == "val" else doubled(lq)
    for root, image in (("dataroot_gt", larger), ("dataroot_lq", lq)):
        write_lmdb(lmdb[root], [("a", encode_png(image), image.shape)])
        write_lmdb(raw_lmdb[root], [("a", image, image.shape)])
    changes = {"phase": phase, "captions": None}
    png, raw = (PairedImageTextDataset(opt | changes) for opt in (lmdb, raw_lmdb))
    assert all(same_item(raw[draw], png[draw]) for draw in range(40))


@pytest.mark.parametrize("backend", ["disk", "lmdb", "raw_lmdb"])
def test_patches_are_what_the_documentation_says(request, backend, images, doubled):
    opt = request.getfixturevalue(backend)
    dataset = PairedImageTextDataset(opt)
    orientations = set()
    for index in range(8 * COUNT):
        draw, number = divmod(index, COUNT)
        rng = np.random.default_rng([opt["seed"], number, draw])
        top, left = rng.integers(16 - 8 + 1), rng.integers(20 - 8 + 1)
        hflip, vflip, rotate = rng.random(3) < 0.5
        lq = images[f"{number:04d}"][top : top + 8, left : left + 8, ::-1]
        lq = lq[:, ::-1] if hflip else lq
        lq = lq[::-1] if vflip else lq
        lq = np.rot90(lq) if rotate else lq
        for side, patch in (("lq", lq), ("gt", doubled(lq))):
            expected = patch.transpose(2, 0, 1).astype(np.float32) / np.float32(255)
            assert np.array_equal(dataset[index][side], expected)
        orientations.add((bool(hflip), bool(vflip), bool(rotate)))
    assert len(orientations) == 8


def test_items_depend_on_seed_and_index_only(disk):
    first, second = PairedImageTextDataset(disk), PairedImageTextDataset(dict(disk))
    indices = list(range(3 * COUNT))
    items = [first[index] for index in indices]
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    for index in reversed(indices):
        assert same_item(second[index], items[index])
    other = PairedImageTextDataset(disk | {"seed": 6})
    assert not any(same_item(other[index], items[index]) for index in indices)


def test_degradation_changes_training_patches_alone(disk):
    """The same crops and flips, then noise on the LR patch."""
    noisy = disk | {"degradation": {"noise_sigma": [0.1, 0.1]}}
    for index in range(3 * COUNT):
        item, plain = PairedImageTextDataset(noisy)[index], PairedImageTextDataset(disk)[index]
        assert torch.equal(item["gt"], plain["gt"])
        assert not torch.equal(item["lq"], plain["lq"])
        assert same_item(item, PairedImageTextDataset(noisy)[index])
    assert same_item(
        PairedImageTextDataset(noisy | {"phase": "val"})[0],
        PairedImageTextDataset(disk | {"phase": "val"})[0],
    )


def test_dimmed_patches_are_float_tensors_beside_others_in_a_batch(disk):
    """Exactly the gain times the patch, at every draw another one."""
    dim, plain = (
        PairedImageTextDataset(disk | {"degradation": {"gain": [0.03, 0.5]}}),
        PairedImageTextDataset(disk),
    )
    gains = []
    for index in range(3 * COUNT):
        item, expected = dim[index], plain[index]
        gain = item["gt"].max() / expected["gt"].max()
        gains.append(gain.item())
        for side in ("lq", "gt"):
            assert item[side].dtype == torch.float32
            torch.testing.assert_close(item[side], expected[side] * gain, rtol=1e-5, atol=1e-7)
    assert 0.03 <= min(gains) < max(gains) <= 0.5
    mixed = PairedImageTextDataset(
        disk | {"degradation": {"probability": 0.5, "gain": [0.03, 0.5]}}
    )
    batch = next(iter(torch.utils.data.DataLoader(mixed, batch_size=COUNT)))
    assert batch["lq"].dtype == batch["gt"].dtype == torch.float32


def test_each_draw_of_an_image_differs(disk):
    dataset = PairedImageTextDataset(disk)
    draws = [dataset[2 + draw * COUNT] for draw in range(8)]
    assert all(draw["gt_path"] == draws[0]["gt_path"] for draw in draws)
    assert not any(same_item(one, other) for one, other in itertools.combinations(draws, 2))


def test_every_epoch_of_the_sampler_draws_new_crops(disk):
    compat.apply()
    from basicsr_m2trans.training.sampler import ResumableSampler

    dataset = PairedImageTextDataset(disk)
    sampler = ResumableSampler(dataset, num_replicas=1, rank=0)
    epochs = []
    for epoch in range(2):
        sampler.set_epoch(epoch)
        epochs.append(
            {
                item["gt_path"]: item
                for item in DataLoader(dataset, batch_size=None, sampler=sampler)
            }
        )
    assert len(epochs[0]) == len(epochs[1]) == COUNT
    assert not any(same_item(epochs[0][path], epochs[1][path]) for path in epochs[0])


def test_the_seed_defaults_to_torchs(disk):
    del disk["seed"]
    torch.manual_seed(11)
    first = PairedImageTextDataset(disk)
    torch.manual_seed(11)
    second = PairedImageTextDataset(disk)
    torch.manual_seed(12)
    third = PairedImageTextDataset(disk)
    assert same_item(first[0], second[0])
    assert not same_item(first[0], third[0])


def test_crops_reach_every_position(disk):
    disk |= {"use_hflip": False, "use_rot": False}
    dataset = PairedImageTextDataset(disk)
    whole = PairedImageTextDataset(disk | {"phase": "val"})[0]["lq"]
    windows = whole.unfold(1, 8, 1).unfold(2, 8, 1)
    found = set()
    for draw in range(1500):
        patch = dataset[draw * COUNT]["lq"]
        matches = (windows == patch[:, None, None]).all(-1).all(-1).all(0).nonzero().tolist()
        assert len(matches) == 1
        found.add(tuple(matches[0]))
    assert found == set(itertools.product(range(9), range(13)))


@pytest.mark.parametrize(
    ("hflip", "rot", "count"),
    [(False, False, 1), (True, False, 2), (False, True, 4), (True, True, 8)],
)
def test_augmentation_gives_every_orientation_equally_often(
    tmp_path, save_image, random_image, hflip, rot, count, doubled
):
    lq = save_image(tmp_path / "lq" / "a.png", random_image(8, 8, 3))
    save_image(tmp_path / "gt" / "a.png", doubled(lq))
    opt = {
        "dataroot_gt": str(tmp_path / "gt"),
        "dataroot_lq": str(tmp_path / "lq"),
        "io_backend": {"type": "disk"},
        "scale": SCALE,
        "phase": "train",
        "gt_size": 16,
        "use_hflip": hflip,
        "use_rot": rot,
        "seed": 0,
    }
    dataset = PairedImageTextDataset(opt)
    patches = torch.stack([dataset[draw]["lq"] for draw in range(400)])
    _, counts = patches.flatten(1).unique(dim=0, return_counts=True)
    assert len(counts) == count
    assert counts.min() > 0.6 * 400 / count


def test_validation_equals_basicsrs_data_set(lmdb, tmp_path, images, doubled):
    compat.apply()
    from basicsr.data.paired_image_dataset import PairedImageDataset

    larger = {
        name: np.pad(doubled(image), ((0, 1), (0, 1), (0, 0))) for name, image in images.items()
    }
    write_lmdb(
        tmp_path / "gt.lmdb",
        ((name, encode_png(image), image.shape) for name, image in larger.items()),
    )
    lmdb["phase"] = "val"
    stock = PairedImageDataset(lmdb | {"io_backend": {"type": "lmdb"}})
    expected = [stock[index] for index in range(COUNT)]
    for environment in stock.file_client.client._client.values():
        environment.close()
    dataset = PairedImageTextDataset(lmdb)
    assert dataset.opt["name"] == "tiny"
    for item, reference in zip(dataset, expected, strict=True):
        assert item["lq_path"] == reference["lq_path"]
        assert item["gt"].shape == (3, 32, 40)
        assert torch.equal(item["lq"], reference["lq"])
        assert torch.equal(item["gt"], reference["gt"])


@pytest.mark.parametrize("backend", ["disk", "lmdb", "raw_lmdb"])
def test_captions_stay_with_their_images_in_shuffled_workers(request, backend):
    dataset = PairedImageTextDataset(request.getfixturevalue(backend))
    expected = [dataset[index] for index in range(COUNT)]
    loader = DataLoader(
        dataset, batch_size=2, shuffle=True, num_workers=2, multiprocessing_context="fork"
    )
    for _ in range(3):
        seen = []
        for batch in loader:
            for lq, gt, text in zip(batch["lq"], batch["gt"], batch["text"], strict=True):
                number = round(lq[2, 0, 0].item() * 255)
                assert text == f"image {number}"
                assert torch.equal(lq, expected[number]["lq"])
                assert torch.equal(gt, expected[number]["gt"])
                seen.append(number)
        assert sorted(seen) == list(range(COUNT))


@pytest.mark.parametrize("backend", ["lmdb", "raw_lmdb"])
def test_spawned_workers(request, backend):
    dataset = PairedImageTextDataset(request.getfixturevalue(backend))
    loader = DataLoader(dataset, batch_size=COUNT, num_workers=1, multiprocessing_context="spawn")
    (batch,) = loader
    assert batch["text"] == [f"image {number}" for number in range(COUNT)]
    assert torch.equal(batch["lq"], torch.stack([item["lq"] for item in dataset]))


def test_one_lmdb_serves_several_data_sets(lmdb):
    train = PairedImageTextDataset(lmdb)
    val = PairedImageTextDataset(
        lmdb | {"phase": "val", "dataroot_lq": lmdb["dataroot_gt"], "scale": 1}
    )
    assert torch.equal(val[3]["lq"], val[3]["gt"])
    assert train[3]["text"] == val[3]["text"] == "image 3"
    assert same_item(pickle.loads(pickle.dumps(train))[9], train[9])


def test_pixel_formats_may_differ_between_files(tmp_path, save_image, random_image, doubled):
    for name, shape, dtype in (
        ("grey", (8, 8), np.uint8),
        ("deep", (8, 8, 3), np.uint16),
        ("rgba", (8, 8, 4), np.uint8),
    ):
        lq = save_image(tmp_path / "lq" / f"{name}.png", random_image(*shape, dtype=dtype))
        save_image(tmp_path / "gt" / f"{name}.png", doubled(lq))
    opt = {
        "dataroot_gt": str(tmp_path / "gt"),
        "dataroot_lq": str(tmp_path / "lq"),
        "io_backend": {"type": "disk"},
        "scale": SCALE,
        "phase": "val",
    }
    for item in PairedImageTextDataset(opt):
        assert item["lq"].shape == (3, 8, 8)
        assert torch.equal(item["gt"][:, ::2, ::2], item["lq"])
        assert 0.6 < item["lq"].max() <= 1


def test_without_captions_there_is_no_text(disk):
    del disk["captions"]
    assert PairedImageTextDataset(disk)[0].keys() == {"lq", "gt", "lq_path", "gt_path"}
    disk["default_caption"] = "a fine ultrasound image"
    assert PairedImageTextDataset(disk)[0]["text"] == "a fine ultrasound image"


def test_missing_captions_are_refused_unless_there_is_a_default(disk, tmp_path):
    write_captions(tmp_path / "captions.csv", {"0000": "image 0", "0001": "image 1"})
    with pytest.raises(
        InputError, match=r"captions\.csv: has no caption for 4 of 6 images: 0002, 0003, 0004, 0005"
    ):
        PairedImageTextDataset(disk)
    dataset = PairedImageTextDataset(disk | {"default_caption": "other"})
    assert [item["text"] for item in dataset] == ["image 0", "image 1", *["other"] * 4]


def test_negative_indices_are_refused(disk):
    with pytest.raises(IndexError, match="index -1 is negative"):
        PairedImageTextDataset(disk)[-1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gt_size": None, "use_rot": None}, "lacks the options gt_size, use_rot"),
        ({"dataroot_lq": None}, "lacks the option dataroot_lq"),
        (
            {"io_backend": {"type": "memcached"}},
            r"io_backend: is .*memcached.*; use \{type: disk\} or \{type: lmdb\}",
        ),
        ({"io_backend": "lmdb"}, "io_backend: is 'lmdb'; use"),
        ({"gt_size": "16"}, "gt_size: '16' is not a whole number of at least 1"),
        ({"scale": 0}, "scale: 0 is not a whole number of at least 1"),
        ({"seed": -1}, "seed: -1 is not a whole number of at least 0"),
        ({"degradation": {"gian": [1, 2]}}, "degradation: unknown keys gian"),
        (
            {"degradation": {"gain": [0, 2]}},
            r"degradation: gain is \[0, 2\]; write a list of two numbers from",
        ),
        ({"gt_size": 15}, "gt_size: 15 is not a multiple of scale 2"),
        (
            {"gt_size": 34},
            r"6 of 6 images do not fit: .*0000\.png is 40 x 32, smaller than .* 34 x 34",
        ),
        (
            {"scale": 4},
            r"6 of 6 images do not fit: .*0000\.png is 40 x 32 but x4 .* \(20 x 16\) is 80 x 64",
        ),
        ({"phase": "val", "scale": 4}, r"6 of 6 images do not fit: .* is 80 x 64"),
        (
            {"dataroot_gt": "no/gt", "captions": "no/c.csv", "meta_info_file": "no/m.txt"},
            "do not exist: dataroot_gt: no/gt; meta_info_file: no/m.txt; captions: no/c.csv",
        ),
        ({"io_backend": {"type": "lmdb"}}, "is not an LMDB folder of BasicSR"),
    ],
)
def test_unusable_options_are_refused(disk, changes, message):
    with pytest.raises(InputError, match=message):
        PairedImageTextDataset(disk | changes)


def test_sizes_in_an_lmdb_are_checked_before_training(lmdb, tmp_path, images):
    images = {name: image[:7] for name, image in images.items()}
    write_lmdb(tmp_path / "lq.lmdb", ((k, encode_png(v), v.shape) for k, v in images.items()))
    with pytest.raises(
        InputError, match=r"6 of 6 images do not fit: 0000 is 40 x 32 but x2 of 0000 \(20 x 7\)"
    ):
        PairedImageTextDataset(lmdb)


def test_damaged_images_are_named(disk, lmdb, tmp_path, images):
    path = tmp_path / "gt" / "0002.png"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(InputError, match=r"gt/0002\.png: cannot be read as an image"):
        PairedImageTextDataset(disk)[2]

    write_lmdb(tmp_path / "lq.lmdb", ((k, encode_png(v)[:60], v.shape) for k, v in images.items()))
    with pytest.raises(InputError, match=r"lq\.lmdb, key '0002': cannot be read as an image"):
        PairedImageTextDataset(lmdb)[2]


def test_damaged_raw_pixels_are_named(raw_lmdb, tmp_path, images):
    write_lmdb(tmp_path / "lq.raw_lmdb", ((k, v[:, :-1], v.shape) for k, v in images.items()))
    dataset = PairedImageTextDataset(raw_lmdb)
    with pytest.raises(
        InputError, match=r"lq\.raw_lmdb, key '0002': has 912 bytes but .* makes 960; make the LMDB"
    ):
        dataset[2]


def test_images_that_change_their_size_are_named(disk, tmp_path, save_image, random_image):
    dataset = PairedImageTextDataset(disk)
    save_image(tmp_path / "lq" / "0002x2.png", random_image(18, 20, 3))
    with pytest.raises(InputError, match=r"0002x2\.png: is 20 x 18 but was announced as 20 x 16"):
        dataset[2]
