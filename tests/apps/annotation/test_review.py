import base64
import re
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest

from basicsr_m2trans.apps.annotation.review import THUMBNAIL_SIDE, Reviewed, review_sheet, thumbnail
from basicsr_m2trans.apps.annotation.state import Description

LOW = Description("a <b>dull</b> image", "dull & grey", 0.1, (0, 0, 30, 20), 1.0)
HIGH = Description('a "sharp" image', "sharp", 0.3, (5, 5, 10, 10), 0.2)


class Text(HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.tags, self.text = [], []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture
def sheet(image):
    return review_sheet(
        [Reviewed('0<1>"', thumbnail(image, HIGH.box), HIGH, [LOW, HIGH])], ["x<y>.png: is damaged"]
    )


def test_text_is_escaped(sheet):
    page = Text(sheet)
    assert "b" not in [tag for tag, _ in page.tags]
    for text in (LOW.caption, LOW.raw, HIGH.caption, '0<1>"', "x<y>.png: is damaged"):
        assert text in page.text
    assert [attributes["alt"] for tag, attributes in page.tags if tag == "img"] == ['0<1>"']


def test_descriptions_are_sorted_and_the_chosen_one_stands_first(sheet):
    text = Text(sheet).text
    assert [part for part in text if re.fullmatch(r"0\.\d{4}", part)] == ["0.3000", "0.1000"]
    assert [part for part in text if part in (LOW.caption, HIGH.caption)] == [HIGH.caption] * 2 + [
        LOW.caption
    ]


def test_nothing_is_fetched_from_elsewhere(sheet):
    sources = [
        attributes[key]
        for _, attributes in Text(sheet).tags
        for key in ("src", "href")
        if key in attributes
    ]
    (source,) = sources
    kind, data = source.split(",")
    assert kind == "data:image/jpeg;base64"
    decoded = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)
    assert decoded.shape == (48, 60, 3)


def test_without_problems_none_are_mentioned():
    assert "without a caption" not in review_sheet([Reviewed("a", b"", HIGH, [HIGH])], [])


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((1000, 500, 3), (320, 160, 3)),
        ((1, 5000, 3), (1, 320, 3)),
        ((7, 9, 3), (7, 9, 3)),
        ((1, 1, 3), (1, 1, 3)),
    ],
)
def test_thumbnails_are_small_and_keep_their_proportions(shape, expected):
    data = thumbnail(np.zeros(shape, np.uint8), (0, 0, shape[1], shape[0]))
    assert cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR).shape == expected
    assert max(expected) <= THUMBNAIL_SIDE


def test_the_box_is_drawn_in_yellow_at_its_place():
    data = thumbnail(np.zeros((640, 640, 3), np.uint8), (100, 200, 300, 400))
    small = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    bright = small.max(axis=2) > 128
    rows, columns = np.nonzero(bright)
    assert (columns.min(), rows.min(), columns.max(), rows.max()) == (50, 100, 199, 299)
    assert not bright[110:290, 60:190].any()
    blue, green, red = small[200, 50].tolist()
    assert min(green, red) > blue + 30
