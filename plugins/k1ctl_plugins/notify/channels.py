"""The channels that k1ctl brings: a command that gets JSON, and the services that apprise knows."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from k1ctl.errors import ConfigError, K1ctlError, NotExecutableError, NotFoundError
from k1ctl.notify import CRITICAL, WARNING, Channel, Notification

if TYPE_CHECKING:
    from k1ctl.config import Config
    from k1ctl.workspace import Workspace

_SCHEME = 20  # characters; a longer one is none, and might be a secret
_OF_RUNS = ("K1CTL_RUN", "K1CTL_LEASES", "K1CTL_GUARDS", "K1CTL_PROMISE", "K1CTL_DEVICE")


def configured(workspace: Workspace, config: Config) -> list[Channel]:
    """Those that [notify] sets."""
    rules = config.section("notify")
    found: list[Channel] = []
    if rules["command"]:
        found.append(CommandChannel(rules["command"], workspace.root))
    if rules["apprise_file"] or rules["apprise_env"]:
        file = os.path.join(workspace.root, os.path.expanduser(rules["apprise_file"])) if rules["apprise_file"] else ""
        found += services(file, rules["apprise_env"])
    return found


class CommandChannel(Channel):
    """``[notify] command``: it gets the notification as one line of JSON on standard input, and 0 means it took it.

    It runs in the root, in a session of its own, with what it prints on our standard error. A first word with a ``/``
    is a path, below the root unless it is absolute.
    """

    name = "command"

    def __init__(self, words: list[str], root: str) -> None:
        self.words, self.root = words, root
        self.about = f"runs {words[0]}"

    def check(self) -> None:
        self._program()

    def _program(self) -> str:
        import shutil

        first = os.path.expanduser(self.words[0])
        found = os.path.join(self.root, first) if os.sep in first else shutil.which(first)
        if not found or not os.path.exists(found):
            raise NotFoundError(f"[notify] command: there is no {self.words[0]}", hint="give its absolute path")
        if os.path.isdir(found) or not os.access(found, os.X_OK):
            raise NotExecutableError(f"[notify] command: {found} cannot be run", hint=f"chmod +x {found}")
        return found

    def send(self, notification: Notification, timeout: float) -> str:
        import subprocess

        from k1ctl.groups import send_to_session
        from k1ctl.jsontext import dumps
        from k1ctl.signals import signals

        process = subprocess.Popen(
            [self._program(), *self.words[1:]],
            stdin=subprocess.PIPE,
            stdout=2,  # our own stdout is for data
            cwd=self.root,
            env={k: v for k, v in os.environ.items() if k not in _OF_RUNS},
            start_new_session=True,
        )
        try:
            process.communicate((dumps(notification.document()) + "\n").encode(), timeout)
        except subprocess.TimeoutExpired:
            raise K1ctlError(f"no end after {timeout:g} s; stopped", code="notify-timed-out") from None
        finally:
            if process.poll() is None:
                send_to_session(process.pid, signals.SIGKILL, group=process.pid)
                process.wait()
            assert process.stdin is not None
            process.stdin.close()
        if process.returncode:
            raise K1ctlError(_ended(process.returncode), code="notify-failed", child_exit_code=process.returncode)
        return "exit code 0"


def _ended(code: int) -> str:
    return f"exit code {code}" if code > 0 else f"killed by signal {-code}"


class AppriseChannel(Channel):
    """A service by its URL, which holds secrets: nothing of it but its scheme and where it stands is ever told."""

    def __init__(self, where: str, url: str) -> None:
        scheme, there, _ = url.partition("://")
        self.name, self.url = f"apprise {where}", url
        self.about = f"{scheme}: by apprise" if there and scheme.isalnum() and len(scheme) <= _SCHEME else "by apprise"

    def check(self) -> None:
        self._service()

    def _service(self) -> Any:
        apprise = _module()
        service = apprise.Apprise()
        if not service.add(self.url):
            raise ConfigError("that is no URL that apprise knows", code="notify-bad-url")
        return service

    def send(self, notification: Notification, timeout: float) -> str:
        service, types = self._service(), _module().NotifyType
        kinds = {WARNING: types.WARNING, CRITICAL: types.FAILURE}
        kind = types.SUCCESS if notification.recovered else kinds.get(notification.level, types.INFO)
        if not service.notify(body=notification.text, title=notification.subject, notify_type=kind):
            raise K1ctlError("the service did not take it, or was not reached", code="notify-failed")
        return "sent"


class Unusable(Channel):
    """What is configured, and cannot be used for the reason ``why``."""

    name = "apprise"
    about = "services by their URLs"

    def __init__(self, why: ConfigError) -> None:
        self.why = why

    def check(self) -> None:
        raise self.why


def services(file: str, variable: str) -> list[Channel]:
    """``[notify] apprise_file`` and ``apprise_env`` ("" for none): a channel for each URL, one a line or parted by
    spaces, so that each has a limit and an outcome of its own; `Unusable` where they cannot be had."""
    found: list[Channel] = []
    if file:
        try:
            found += [AppriseChannel(f"line {number}", url) for number, url in _lines(file)]
        except ConfigError as exc:
            found.append(Unusable(exc))
    words = os.environ.get(variable, "").split() if variable else []
    found += [AppriseChannel(f"${variable}, word {number}", url) for number, url in enumerate(words, 1)]
    if not found:
        where = " and ".join(w for w in (file, variable and f"${variable}") if w)
        found.append(Unusable(ConfigError(f"no URL of apprise stands in {where}", code="notify-no-url")))
    return found


def _module() -> Any:
    """apprise, silent: what it logs may tell a URL. Raises NotFoundError."""
    import logging

    logger = logging.getLogger("apprise")
    logger.propagate = False
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
    try:
        import apprise
    except ImportError as exc:
        raise NotFoundError("apprise is not installed", hint="pip install 'k1ctl[notify]'") from exc
    return apprise


def _lines(path: str) -> list[tuple[int, str]]:
    """[(line number, URL)] of a file that is ours and closed to others. Raises ConfigError."""
    try:
        with open(path, encoding="utf-8") as f:
            about = os.fstat(f.fileno())
            if about.st_mode & 0o077 or about.st_uid != os.getuid():
                raise ConfigError(
                    f"{path} is open to others or not yours: it holds secrets",
                    hint=f"chmod 600 {path}",
                    code="notify-file-open",
                )
            lines = [line.strip() for line in f]
    except (OSError, UnicodeDecodeError) as exc:
        why = exc.strerror if isinstance(exc, OSError) else "not UTF-8"
        raise ConfigError(f"[notify] apprise_file {path} cannot be read: {why}", code="notify-file") from exc
    return [(number, line) for number, line in enumerate(lines, 1) if line and not line.startswith("#")]
