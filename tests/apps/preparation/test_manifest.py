import pytest

from basicsr_m2trans.apps.preparation.manifest import Manifest, Source
from basicsr_m2trans.utils.errors import InputError


def test_state_survives(tmp_path):
    manifest = Manifest(tmp_path / "out", {"seed": 0}, [2])
    manifest.sources["b.png"] = Source(10, 20, {"b": (24, 36, 1)})
    manifest.sources["a.png"] = Source(11, 21, skipped="too small")
    manifest.lmdbs["HR.lmdb"] = manifest.digest()
    manifest.save()
    again = Manifest(tmp_path / "out", {"seed": 0}, [2])
    assert again.sources["a.png"] == manifest.sources["a.png"]
    assert again.images() == {"b": [24, 36, 1]}
    assert again.lmdbs["HR.lmdb"] == again.digest()


def test_digest_follows_the_images(tmp_path):
    manifest = Manifest(tmp_path / "out", {}, [2])
    manifest.sources["a.png"] = Source(10, 20, {"a": (24, 36, 1)})
    digest = manifest.digest()
    manifest.sources["text.png"] = Source(10, 20, skipped="no image")
    assert manifest.digest() == digest
    manifest.sources["a.png"].mtime_ns = 21
    assert manifest.digest() != digest


def test_other_parameters_are_refused(tmp_path):
    Manifest(tmp_path, {"seed": 0, "step": 2}, [2])
    with pytest.raises(InputError, match=r"\(seed was 0 and is now 1; step was 2 and is now 3\)"):
        Manifest(tmp_path, {"seed": 1, "step": 3}, [2])


def test_folders_of_others_are_refused(tmp_path):
    (tmp_path / ".hidden").write_text("x")
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(InputError, match="is not empty and was not made by this command"):
        Manifest(tmp_path, {}, [2])
    with pytest.raises(InputError, match=r"notes\.txt: is not empty"):
        Manifest(tmp_path / "notes.txt", {}, [2])
    (tmp_path / "notes.txt").unlink()
    Manifest(tmp_path, {}, [2])
    assert (tmp_path / "manifest.json").is_file()
