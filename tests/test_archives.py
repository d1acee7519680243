from __future__ import annotations

import os
import tarfile
from pathlib import Path

import pytest

from k1ctl.archives import pack
from k1ctl.errors import WrongDataError


def folder(path: Path, order: str = "ab") -> Path:
    (path / "sub").mkdir(parents=True)
    for name in order:
        (path / f"{name}.txt").write_text(name * 1000)
    (path / "sub" / "run").write_text("x")
    (path / "sub" / "run").chmod(0o700)
    (path / "link").symlink_to("sub/run")
    return path


def test_equal_contents_give_equal_bytes(tmp_path: Path) -> None:
    """Order of creation, times, owners' rights and the umask leave no trace; another content does."""
    one, two = folder(tmp_path / "one"), folder(tmp_path / "two", "ba")
    os.utime(two / "a.txt", (1, 1))
    (two / "b.txt").chmod(0o600)
    first = pack(str(one), str(tmp_path / "1.tar"))
    assert pack(str(two), str(tmp_path / "2.tar")) == first
    assert (tmp_path / "1.tar").read_bytes() == (tmp_path / "2.tar").read_bytes()
    assert (first["file_count"], first["content_bytes"]) == (3, 2001)
    (two / "a.txt").write_text("z" * 1000)
    assert pack(str(two), str(tmp_path / "3.tar"))["sha256"] != first["sha256"]


def test_what_comes_out_is_what_went_in(tmp_path: Path) -> None:
    """Files, the executable bit and inner links survive."""
    pack(str(folder(tmp_path / "one")), str(tmp_path / "1.tar"))
    with tarfile.open(tmp_path / "1.tar") as tar:
        assert tar.getnames() == ["a.txt", "b.txt", "link", "sub", "sub/run"]
        tar.extractall(tmp_path / "out", filter="data")
    assert (tmp_path / "out/a.txt").read_text() == "a" * 1000
    assert os.access(tmp_path / "out/sub/run", os.X_OK) and os.readlink(tmp_path / "out/link") == "sub/run"


@pytest.mark.parametrize("target", ["../secret", "/etc/hosts", "sub/../../secret"])
def test_a_link_that_leads_out_is_refused(tmp_path: Path, target: str) -> None:
    """Nothing outside of the folder gets into the archive, nor a link to it."""
    (tmp_path / "secret").write_text("x")
    one = folder(tmp_path / "one")
    (one / "out").symlink_to(target)
    with pytest.raises(WrongDataError, match="is a link to"):
        pack(str(one), str(tmp_path / "1.tar"))


def test_a_pipe_and_an_empty_folder_are_refused(tmp_path: Path) -> None:
    """Only files, folders and links are kept, and nothing is not an artifact."""
    (tmp_path / "one" / "sub").mkdir(parents=True)
    with pytest.raises(WrongDataError, match="holds no file"):
        pack(str(tmp_path / "one"), str(tmp_path / "1.tar"))
    os.mkfifo(tmp_path / "one" / "pipe")
    with pytest.raises(WrongDataError, match="neither file"):
        pack(str(tmp_path / "one"), str(tmp_path / "2.tar"))
