import re
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from basicsr_m2trans.data.captions import (
    ATTRIBUTES,
    TEMPLATES,
    make_caption,
    read_captions,
    write_captions,
)
from basicsr_m2trans.utils.errors import InputError
from basicsr_m2trans.utils.names import image_name

PATTERNS = [
    re.compile(template.format(attr="(?P<words>[a-z]+(?:, [a-z]+)*)")) for template in TEMPLATES
]


def words_of(caption):
    (words,) = (match["words"].split(", ") for p in PATTERNS if (match := p.fullmatch(caption)))
    return words


def test_caption_depends_on_seed_and_name_only():
    assert make_caption("0001") == make_caption("0001", seed=0)
    assert make_caption("0001") == "a clear image of an ultrasound"
    assert (
        make_caption("0002", seed=7) == "a picture of a great, clean, clear, cool ultrasound image"
    )


def test_captions_cover_the_papers_recipe_evenly():
    captions = [make_caption(f"{number:04d}", seed=3) for number in range(2100)]
    words = [words_of(caption) for caption in captions]
    assert all(len(set(some)) == len(some) and set(some) <= set(ATTRIBUTES) for some in words)
    lengths = [sum(len(some) == count for some in words) for count in range(1, 8)]
    assert min(lengths) > 240  # 300 expected, standard deviation 16
    templates = [
        sum(bool(pattern.fullmatch(caption)) for caption in captions) for pattern in PATTERNS
    ]
    assert min(templates) > 600  # 700 expected, standard deviation 22
    firsts = [sum(some[0] == word for some in words) for word in ATTRIBUTES]
    assert min(firsts) > 240


def test_another_seed_gives_other_captions():
    names = [f"{number:04d}" for number in range(50)]
    assert sum(make_caption(name, 0) == make_caption(name, 1) for name in names) < 10


def test_write_and_read(tmp_path):
    captions = {
        "0001": "a nice, sharp ultrasound image",
        "1.2.840": 'a "great" one',
        "肝 1": "a fine image",
    }
    write_captions(tmp_path / "captions.csv", captions)
    assert read_captions(tmp_path / "captions.csv") == captions
    assert [path.name for path in tmp_path.iterdir()] == ["captions.csv"]


# One line without blanks at its ends; Cc and Cs are control characters and halves of surrogate
# pairs.
LINE = st.text(
    st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")), min_size=1, max_size=12
).map(str.strip)


@settings(max_examples=50, deadline=None)
@given(
    st.dictionaries(
        LINE.filter(lambda line: image_name(line) == line != ""), LINE.filter(bool), max_size=5
    )
)
def test_any_text_of_one_line_comes_back(captions):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "captions.csv")
        write_captions(path, captions)
        assert read_captions(path) == captions


def test_reads_a_file_from_a_spreadsheet(tmp_path):
    path = tmp_path / "captions.csv"
    path.write_bytes(
        '\ufeffimage,caption,note\r\n0001.PNG," a clear ultrasound image ",x\r\n\r\n'.encode()
    )
    assert read_captions(path) == {"0001": "a clear ultrasound image"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "line 1 lacks the column image and caption"),
        ("image;caption\na;b\n", "line 1 lacks the column image and caption"),
        ("image,text\na,b\n", "line 1 lacks the column caption"),
        ("image,caption\na,b\na.png,c\n", "line 3 repeats image 'a'"),
        ("image,caption\na, \n", "line 2 has no caption for image 'a'"),
        ("image,caption\na\n", "line 2 has no caption for image 'a'"),
        ("image,caption\n,b\n", "line 2 has no image name"),
        ("image,caption\na,a nice, sharp image\n", "line 2 has more fields than the header"),
        ('image,caption\na,"' + "x" * 140_000, "line 2 is not valid CSV (field larger than"),
    ],
)
def test_bad_files_are_refused_with_their_line(tmp_path, content, message):
    path = tmp_path / "captions.csv"
    path.write_text(content)
    with pytest.raises(InputError, match=re.escape(f"{path}: {message}")):
        read_captions(path)


def test_files_that_are_missing_or_not_utf8_are_refused(tmp_path):
    path = tmp_path / "captions.csv"
    with pytest.raises(InputError, match=r"captions\.csv: the captions file cannot be read"):
        read_captions(path)
    path.write_bytes("image,caption\na,schön\n".encode("latin-1"))
    with pytest.raises(InputError, match=r"captions\.csv: the captions file is not UTF-8"):
        read_captions(path)
