"""Results are written whole or not at all."""

from pathlib import Path

import pytest

from cli.errors import BadInput, Failed
from cli.output import check_writable, replace_file


def test_the_folder_is_made(tmp_path: Path) -> None:
    check_writable(tmp_path / "a" / "b" / "out.png")
    assert (tmp_path / "a" / "b").is_dir()


@pytest.mark.parametrize("name", ["out", "out.jpg", "folder.png"])
def test_what_cannot_hold_a_png_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(BadInput):
        check_writable(tmp_path / name)


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(BadInput, match="file"):
        check_writable(tmp_path / "file" / "out.png")


def test_the_file_is_replaced_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "out.png"
    path.write_bytes(b"old")
    replace_file(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_gone_is_a_failure(tmp_path: Path) -> None:
    with pytest.raises(Failed, match=r"out\.png"):
        replace_file(tmp_path / "gone" / "out.png", b"new")
