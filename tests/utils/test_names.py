import re
import unicodedata

import pytest

from basicsr_m2trans.utils.names import first_few, image_name, safe_name


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("0001.png", "0001"),
        ("folder/0001.PNG", "0001"),
        ("1.2.840.tiff", "1.2.840"),
        ("1.2.840", "1.2.840"),
        ("left kidney", "left kidney"),
    ],
)
def test_image_name_takes_off_image_extensions_only(file, name):
    assert image_name(file) == name


@pytest.mark.parametrize("name", ["0001", "busi_benign-12", "A_s001"])
def test_safe_names_are_kept(name):
    assert safe_name(name) == name


def test_unsafe_names_become_ascii_without_dots_or_blanks():
    assert safe_name("scan 1.2") == "scan_1_2-6736ced7"
    assert safe_name("甲状腺01") == "___01-4bcab521"


def test_names_that_differ_in_unsafe_characters_only_stay_apart():
    names = ["甲状腺", "胆囊肝", "a.b", "a b", "a_b", "é", "è"]
    safe = [safe_name(name) for name in names]
    assert len(set(safe)) == len(names)
    assert all(re.fullmatch("[A-Za-z0-9_-]+", name) for name in safe)


def test_unicode_forms_of_one_name_end_alike():
    endings = {safe_name(unicodedata.normalize(form, "médiastin"))[-9:] for form in ("NFC", "NFD")}
    assert len(endings) == 1


def test_long_names_fit_file_systems_and_stay_apart():
    first, second = safe_name("a" * 300), safe_name("a" * 301)
    assert first != second
    assert len(first) == 209


def test_first_few():
    assert first_few(["a", "b"]) == "a, b"
    assert first_few(list("abcdefg")) == "a, b, c, d, e and 2 more"
