"""`k1ctl notify`: the two channels of k1ctl, what they refuse, and that no secret is told."""

from __future__ import annotations

import importlib.util
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from k1ctl.config import load
from k1ctl.errors import K1ctlError
from k1ctl.groups import living
from k1ctl.notify import CRITICAL, INFO, Channel, Notification
from k1ctl.testing import add_distribution
from k1ctl_plugins.notify.channels import AppriseChannel, CommandChannel, Unusable, configured, services
from tests.kit import Project, wait_until

SECRET = "hunter2"
needs_apprise = pytest.mark.skipif(importlib.util.find_spec("apprise") is None, reason="needs apprise")
TOLD = Notification(CRITICAL, "k1 does not answer", "offline", key="k1/7/incident", text="line 1\nline 2", device="k1")


@pytest.fixture
def service() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A server on loopback that takes what apprise's json:// sends, with a password: (URL, what it got)."""
    got: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            got.append({**body, "authorization": self.headers.get("Authorization")})
            self.send_response(200 if self.path == "/in" else 500)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"json://me:{SECRET}@127.0.0.1:{server.server_port}", got
    server.shutdown()
    thread.join()
    server.server_close()


def urls(folder: Path, *lines: str, mode: int = 0o600) -> Path:
    path = folder / "urls"
    path.write_text("\n".join(lines) + "\n")
    path.chmod(mode)
    return path


def refusal(channel: Channel, notification: Notification = TOLD) -> K1ctlError:
    with pytest.raises(K1ctlError) as caught:
        channel.check()
        channel.send(notification, 5)
    return caught.value


def test_nobody_is_configured(workspace: Project) -> None:
    """A try without a channel is bad configuration, a list is empty, and both say what to set."""
    workspace.run("notify", "test").assert_fails(78, "no channel is configured", "apprise_file")
    listed = workspace.run("notify", "list", "--json").assert_ok()
    assert listed.json == {"ok": True, "channels": []}


def test_a_try_goes_through_every_channel(workspace: Project, tmp_path: Path) -> None:
    """One that fails, or a broken plugin, is told with its exit code, in an event too, and the others get it."""
    got, site = tmp_path / "got", tmp_path / "site"
    code = (
        "from k1ctl.hookspecs import hookimpl\nfrom k1ctl.notify import Channel\n"
        "class Bell(Channel):\n    name = 'bell'\n    about = 'a bell'\n"
        "    def send(self, notification, timeout):\n        raise OSError('no clapper')\n"
        "@hookimpl\ndef k1ctl_notify(config):\n    return [Bell()]\n"
    )
    add_distribution(site, "k1ctl-bell", {"bell": "k1ctl_bell"}, {"k1ctl_bell": code})
    workspace.configure(f'[notify]\ncommand = ["sh", "-c", "cat > \'{got}\'; echo heard"]\n')
    env = {"PYTHONPATH": str(site)}
    done = workspace.run("notify", "test", "--json", env=env).assert_fails(1)
    rows = {row["channel"]: (row["outcome"], row["message"]) for row in done.json["channels"]}
    assert rows == {"bell": ("failed", "OSError: no clapper"), "command": ("sent", "exit code 0")}
    assert done.json["error"]["code"] == "notify-failed" and "heard" in done.stderr
    told = json.loads(got.read_text())
    assert told["key"].startswith("test/") and told["workspace"] == "repo"
    assert {e["channel"]: e["message"] for e in workspace.events("notify.failed")} == {"bell": "OSError: no clapper"}
    got.unlink()
    dry = workspace.run("notify", "test", "--dry-run", env=env).assert_ok()
    assert "command: would send: runs sh" in dry.stdout and "bell: would send" in dry.stdout and not got.exists()
    assert dry.changed == ()


def test_a_command_that_fails_hangs_or_is_not_there(tmp_path: Path) -> None:
    """Its exit code, its limit, its absence are the message; one that reads nothing is none the worse."""
    root = str(tmp_path)
    assert refusal(CommandChannel(["sh", "-c", "exit 3"], root)).message == "exit code 3"
    assert refusal(CommandChannel(["sh", "-c", "kill -9 $$"], root)).message == "killed by signal 9"
    assert refusal(CommandChannel(["no-such-program"], root)).exit_code == 127
    (tmp_path / "plain").write_text("")
    assert refusal(CommandChannel(["./plain"], root)).exit_code == 126
    with pytest.raises(K1ctlError, match=r"no end after 0\.05 s"):
        CommandChannel(["sh", "-c", "sleep 60 & wait"], root).send(TOLD, 0.05)
    pids = tmp_path / "pids"
    apart = f"set -m; sleep 60 & echo $! > {pids}; wait"  # in a group of its own, as timeout(1) and zsh do it
    with pytest.raises(K1ctlError, match="no end"):
        CommandChannel(["bash", "-c", apart], root).send(TOLD, 0.5)
    wait_until(lambda: not living(int(pids.read_text())))
    long = Notification(INFO, "s", "r", key="k", text="x" * 300_000)
    assert CommandChannel(["true"], root).send(long, 5) == "exit code 0"


def test_what_is_configured(workspace: Project) -> None:
    """No channel without a setting; paths are the root's."""
    workspace.configure('[notify]\napprise_file = "ops/urls"\ncommand = ["x"]\n')
    facts = workspace.facts()
    channels = configured(facts, load(facts))
    assert [channel.name for channel in channels] == ["command", "apprise"]
    assert isinstance(channels[1], Unusable) and str(workspace.ops / "urls") in channels[1].why.message
    assert configured(facts, load(facts, {"K1CTL_NOTIFY_COMMAND": "", "K1CTL_NOTIFY_APPRISE_FILE": ""})) == []


@needs_apprise
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of what apprise imports
def test_apprise_reaches_a_service(
    tmp_path: Path, service: tuple[str, list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every URL of file and variable is a channel, told once, with title, text and level; a comment is none."""
    url, got = service
    monkeypatch.setenv("APPRISE_TEST", f"{url}/in")
    path = urls(tmp_path, "# on-call", "", f"{url}/in")
    channels = services(str(path), "APPRISE_TEST")
    assert [channel.name for channel in channels] == ["apprise line 3", "apprise $APPRISE_TEST, word 1"]
    assert [channel.send(TOLD, 5) for channel in channels] == ["sent", "sent"]
    assert [(g["title"], g["message"], g["type"]) for g in got] == [
        ("k1 does not answer", "line 1\nline 2", "failure")
    ] * 2
    assert got[0]["authorization"].startswith("Basic ")
    channels[0].send(Notification(INFO, "s", "r", key="k", recovered=True), 5)
    assert got[-1]["type"] == "success"


@needs_apprise
def test_apprise_tells_no_secret(workspace: Project, tmp_path: Path, service: tuple[str, list[dict[str, Any]]]) -> None:
    """Each URL has its own outcome, told by its line; no output, no event and no log has the URL's password."""
    path = urls(tmp_path, f"{service[0]}/out", f"nonsense://{SECRET}", f"{service[0]}/in", f"{SECRET} x://y")
    workspace.configure(f'[notify]\napprise_file = "{path}"\n')
    done = workspace.run("notify", "test", "--json").assert_fails(1, "")
    rows = {row["channel"].removeprefix("apprise "): (row["outcome"], row["message"]) for row in done.json["channels"]}
    unknown = ("failed", "that is no URL that apprise knows")
    assert rows == {
        "line 1": ("failed", "the service did not take it, or was not reached"),
        "line 2": unknown,
        "line 3": ("sent", "sent"),
        "line 4": unknown,
    }
    about = [channel.about for channel in services(str(path), "")]
    assert about == ["json: by apprise", "nonsense: by apprise", "json: by apprise", "by apprise"]
    said = done.stdout + done.stderr + json.dumps(workspace.events())
    assert SECRET not in said and "127.0.0.1" not in said


def test_a_file_with_secrets_has_to_be_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Open to others, missing, or without a URL: bad configuration in one line, before anything is sent; what the
    variable has is a channel all the same."""
    open_file = refusal(services(str(urls(tmp_path, "json://h", mode=0o640)), "")[0])
    assert (open_file.code, open_file.exit_code) == ("notify-file-open", 78) and "chmod 600" in open_file.hint
    assert refusal(services(str(tmp_path / "none"), "")[0]).code == "notify-file"
    monkeypatch.delenv("APPRISE_TEST", raising=False)
    [nothing] = services(str(urls(tmp_path, "# none")), "APPRISE_TEST")
    assert refusal(nothing).code == "notify-no-url" and "$APPRISE_TEST" in refusal(nothing).message
    monkeypatch.setenv("APPRISE_TEST", "json://h")
    assert [type(c) for c in services(str(tmp_path / "none"), "APPRISE_TEST")] == [Unusable, AppriseChannel]


def test_without_apprise_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra is named."""
    import sys

    monkeypatch.setitem(sys.modules, "apprise", None)
    missing = refusal(AppriseChannel("line 1", "json://h"))
    assert missing.exit_code == 127 and "k1ctl[notify]" in missing.hint
