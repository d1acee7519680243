"""The login: right answers by every rule, and a password that is found where it may be and shown nowhere."""

from __future__ import annotations

import json
import os
import traceback
from pathlib import Path

import pytest

from k1ctl.device import login
from k1ctl.errors import ConfigError

NONCE, CNONCE = "0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210"


@pytest.mark.parametrize(
    ("times", "hash_name", "response"),
    [
        (1, "md5", "a2335fdfd1c52491269ebc2ead401e32"),
        (2, "sha256", "168a253036be1c45cfb965992cf9d5d5893692643e3e6fdd932387a3d986b422"),
        (2, "md5", "f6c51064d08982de6c27adfbc70f9e2937fa0eed08347b6b078bbbf97c6fdd6b"),
    ],
)
def test_answers_that_openssl_computed(times: int, hash_name: str, response: str) -> None:
    """`openssl dgst` and `openssl kdf ... PBKDF2` give the same for this password and these nonces."""
    hashed = login.Password(b"correct horse").hashed(hash_name)
    assert login.response(hashed, NONCE * times, CNONCE * times) == response


@pytest.mark.parametrize("nonce", [NONCE, NONCE * 2])
def test_the_datagram(nonce: str) -> None:
    """`200 CNONCE RESPONSE` with both as long as the nonce, or a device drops it; never the same twice."""
    secret = login.Password(b"s")
    answers = [login.answer(secret, nonce, login.HASHES[len(nonce)][0]) for _ in range(2)]
    for datagram in answers:
        command, cnonce, response = datagram.decode().split(" ")
        assert (command, len(cnonce), len(response)) == ("200", len(nonce), len(nonce) + 1) and response[-1] == "\n"
    assert answers[0] != answers[1]


def test_a_password_does_not_show_itself() -> None:
    """Neither printed, formatted, serialised nor in a traceback with the locals of every frame."""
    secret = login.Password(b"hunter2")
    try:
        login.answer(secret, "no nonce", "md5").index(b"not there")
    except ValueError as exc:
        told = "".join(traceback.TracebackException.from_exception(exc, capture_locals=True).format())
    with pytest.raises(TypeError):
        json.dumps(secret)
    for text in (repr(secret), str(secret), f"{secret}", told, repr([secret])):
        assert "hunter2" not in text
    assert not hasattr(secret, "__dict__")


def file(path: Path, content: bytes, mode: int = 0o600) -> str:
    path.write_bytes(content)
    path.chmod(mode)
    return str(path)


def hashed(device: dict[str, str]) -> str | None:
    found = login.configured(device)
    return found and found.hashed("sha256")


def test_where_it_comes_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable when it is set, else the first line of the file, without its end; none where none is named."""
    path = file(tmp_path / "secret", b" of the \xff file \r\nsecond line\n", 0o400)
    both = {"name": "k1", "password_env": "THE_PASSWORD", "password_file": path}
    assert hashed({"name": "k1"}) is None and hashed({"password_env": "", "password_file": ""}) is None
    assert hashed(both) == login.Password(b" of the \xff file ").hashed("sha256")
    monkeypatch.setenv("THE_PASSWORD", os.fsdecode(b"caf\xe9"))
    assert hashed(both) == login.Password(b"caf\xe9").hashed("sha256")
    monkeypatch.setenv("THE_PASSWORD", "")
    assert hashed(both) == login.Password(b" of the \xff file ").hashed("sha256")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o644])
def test_a_file_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    """It names the chmod that helps, and not the password."""
    path = file(tmp_path / "secret", b"hunter2\n", mode)
    with pytest.raises(ConfigError) as caught:
        login.configured({"password_file": path})
    assert caught.value.code == "ota-password-file" and f"mode {mode:o}" in caught.value.message
    assert caught.value.hint == f"chmod 600 {path}" and "hunter2" not in caught.value.message


def test_sources_that_cannot_be_used(tmp_path: Path) -> None:
    """A file that is not there, a folder, a FIFO (without waiting for a writer), an empty line, a variable not set."""
    os.mkfifo(tmp_path / "fifo", 0o600)
    paths = [str(tmp_path / "none"), str(tmp_path), str(tmp_path / "fifo"), file(tmp_path / "empty", b"\nx\n")]
    for path in paths:
        with pytest.raises(ConfigError) as caught:
            login.configured({"password_file": path})
        assert caught.value.code == "ota-password-file" and path in caught.value.message
    with pytest.raises(ConfigError) as caught:
        login.configured({"name": "k1", "password_env": "THE_PASSWORD"})
    assert caught.value.code == "ota-password-missing" and "THE_PASSWORD" in caught.value.message


def test_a_file_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who owns it could have written it."""
    path = file(tmp_path / "secret", b"hunter2\n")
    mine = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: mine + 1)
    with pytest.raises(ConfigError, match="another user"):
        login.configured({"password_file": path})
