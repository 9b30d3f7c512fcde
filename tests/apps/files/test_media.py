import pytest

from basicsr_m2trans.utils.atomic import replacing, require_writable
from basicsr_m2trans.utils.errors import InputError


def test_a_file_appears_complete(tmp_path):
    with replacing(tmp_path / "sub/a.png") as partial:
        partial.write_text("new")
        assert not (tmp_path / "sub/a.png").exists()
    assert [(path.name, path.read_text()) for path in (tmp_path / "sub").iterdir()] == [
        ("a.png", "new")
    ]


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_errors_leave_what_was_there(tmp_path, error):
    (tmp_path / "a.png").write_text("old")

    def write():
        with replacing(tmp_path / "a.png") as partial:
            partial.write_text("half")
            raise error

    with pytest.raises(error):
        write()
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a.png", "old")]


def test_folders_that_cannot_be_written_are_named_and_none_is_made(tmp_path):
    require_writable(tmp_path / "new/sub", "-o new")
    (tmp_path / "file").touch()
    with pytest.raises(
        InputError,
        match=r"^-o file/sub: .*/file cannot be written \(Not a directory\); name another",
    ):
        require_writable(tmp_path / "file/sub", "-o file/sub")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
