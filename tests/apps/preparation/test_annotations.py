import pytest

from basicsr_m2trans.apps.preparation.annotations import Box, read_boxes
from basicsr_m2trans.utils.errors import InputError

SIZE = (480, 640)  # height and width
VOC = """<annotation><filename>a.png</filename>
<size><width>{w}</width><height>{h}</height><depth>3</depth></size>
<object><name>scan</name><bndbox><xmin>20</xmin><ymin>30</ymin><xmax>620</xmax><ymax>478</ymax></bndbox></object>
<object><name>scan</name><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>3</xmax><ymax>5</ymax></bndbox></object>
</annotation>"""


@pytest.fixture
def write(tmp_path):
    def write(name, text):
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return write


def test_pascal_voc(write):
    boxes = read_boxes(write("a.xml", VOC.format(w=640, h=480)), SIZE)
    assert boxes == [Box(20, 30, 620, 478), Box(1, 2, 3, 5)]
    assert boxes[0].size == (448, 600)


def test_yolo_gives_the_same_box(write):
    # What LabelImg writes for the first box of `VOC`: centre and size as fractions, with six
    # digits.
    line = f"0 {320 / 640:.6f} {254 / 480:.6f} {600 / 640:.6f} {448 / 480:.6f}\n"
    assert read_boxes(write("a.txt", f"{line}\n"), SIZE) == [Box(20, 30, 620, 478)]


def test_boxes_may_reach_out(write):
    assert read_boxes(write("a.txt", "0 0.5 0.5 1.5 1\n"), SIZE) == [Box(-160, 0, 800, 480)]


def test_another_image_size_is_refused(write):
    with pytest.raises(
        InputError, match=r"a\.xml: was made for an image of 480 x 640, but it is 640 x 480"
    ):
        read_boxes(write("a.xml", VOC.format(w=480, h=640)), SIZE)
    assert len(read_boxes(write("a.xml", VOC.format(w=0, h=0)), SIZE)) == 2  # no size stated


@pytest.mark.parametrize(
    "text",
    [
        *(
            "<annotation><object>",
            "",
            VOC.format(w=640, h=480).replace("620", "wide"),
            VOC.format(w="w", h=1),
        ),
        '<?xml version="1.0" encoding="unheard-of"?><annotation/>',
    ],
)
def test_bad_xml_is_named(write, text):
    with pytest.raises(InputError, match=r"a\.xml: is no Pascal VOC annotation"):
        read_boxes(write("a.xml", text), SIZE)


def test_a_missing_edge_is_named(write):
    with pytest.raises(InputError, match=r"a\.xml: is no Pascal VOC annotation"):
        read_boxes(write("a.xml", VOC.format(w=640, h=480).replace("<xmin>20</xmin>", "")), SIZE)


@pytest.mark.parametrize(
    "entity", ['<!ENTITY a "aaaaaaaaaa">', '<!ENTITY a SYSTEM "file:///etc/hostname">']
)
def test_entities_are_not_expanded(write, entity):
    text = f"<!DOCTYPE annotation [{entity}]>" + VOC.format(w="&a;", h=480)
    with pytest.raises(InputError, match=r"a\.xml: is no Pascal VOC annotation \(DTDForbidden"):
        read_boxes(write("a.xml", text), SIZE)


@pytest.mark.parametrize(
    "text", ["0 0.5 0.5 0.5\n", "0 0.5 0.5 0.5 x\n", "0 nan 0.5 0.5 0.5\n", "0 inf 0.5 1 1\n"]
)
def test_bad_yolo_is_named(write, text):
    with pytest.raises(InputError, match=r"a\.txt: is no YOLO annotation"):
        read_boxes(write("a.txt", text), SIZE)


def test_files_without_a_box_are_named(write, tmp_path):
    with pytest.raises(InputError, match=r"gone\.txt: cannot be read \(No such file"):
        read_boxes(tmp_path / "gone.txt", SIZE)
    with pytest.raises(InputError, match=r"a\.txt: holds no box"):
        read_boxes(write("a.txt", "\n"), SIZE)
    with pytest.raises(InputError, match=r"a\.xml: holds no box"):
        read_boxes(write("a.xml", "<annotation/>"), SIZE)
