"""What a person sees of a flash."""

from __future__ import annotations

import time

import pytest

from k1ctl_plugins.upload.progress import FlashView


def test_the_speed_is_that_of_what_was_seen(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What an upload had done before it was taken up counts for no speed; nor does less than a second."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    view = FlashView("k1")
    view.output(1, b"stage transfer\nprogress 102400 1024000\ntaken 51200 1024000\ntaken 512000 1024000\n")
    now[0] += 0.5
    view.output(1, b"taken 522240 1024000\n")
    assert "50%" in (said := capsys.readouterr().err) and "/s" not in said
    now[0] += 1.5
    view.output(1, b"taken 768000 1024000\n")
    assert "750 KiB of 1000 KiB  125 KiB/s" in capsys.readouterr().err
    view.output(1, b"stage transfer\ntaken 1024000 1024000\n")
    assert "100%" in (said := capsys.readouterr().err) and "/s" not in said
