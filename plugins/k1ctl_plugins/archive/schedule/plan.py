"""The schedule of one root, whichever scheduler keeps it."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

from k1ctl import hookscripts
from k1ctl.errors import ConfigError
from k1ctl.files import read_bytes, read_json
from k1ctl.units import rfc3339
from k1ctl_plugins.archive.schedule import crontab, launchd, times

if TYPE_CHECKING:
    from k1ctl.workspace import Workspace
    from k1ctl_plugins.archive.schedule.times import When

CRON, LAUNCHD = "cron", "launchd"


class Schedule:
    """``entry`` is what the scheduler is given for ``when``: lines of a crontab, or a property list."""

    def __init__(self, workspace: Workspace, kind: str) -> None:
        self.workspace, self.kind, self.root = workspace, kind, workspace.root
        self.script = workspace.ops_path("hooks", hookscripts.WEEKLY)

    def entry(self, when: When) -> bytes:
        """Raises ConfigError where the root's path cannot stand there."""
        if self.kind == CRON:
            return crontab.block(self.root, self.script, when.cron)
        return launchd.text(self.root, self.script, when)

    def there(self) -> bytes:
        """What the scheduler has of this root, b"" when nothing. Raises K1ctlError."""
        if self.kind == CRON:
            return crontab.installed(crontab.read(), self.root)
        return read_bytes(launchd.path_of(self.root)) or b""

    def install(self, when: When) -> bool:
        """Write the script and hand the entry over; whether the entry is new. Raises K1ctlError, OSError."""
        entry = self.entry(when)
        (written,) = hookscripts.put(self.workspace, [hookscripts.WEEKLY])
        if written.how == "kept":
            raise ConfigError(f"{written.path} is not k1ctl's", hint="move it away", code="foreign-script")
        if self.kind == CRON:
            return crontab.replace(self.root, entry)
        return launchd.install(self.root, entry)

    def remove(self) -> bool:
        """Take the entry away; whether there was one. Raises K1ctlError, OSError."""
        return crontab.replace(self.root, b"") if self.kind == CRON else launchd.remove(self.root)

    def status(self) -> dict[str, Any]:
        """Whether it is installed, when it runs next, and how it ended last, as JSON. Raises K1ctlError."""
        entry = self.there()
        when = self._when(entry) if entry else None
        active = bool(entry) and (self.kind == CRON or launchd.loaded(self.root))
        last = read_json(self.workspace.ops_path("archive", "weekly.json"))
        return {
            "kind": self.kind,
            "root": self.root,
            "installed": active,
            "at": when.text if when else None,
            "every": when.every if when else None,
            "next_at": rfc3339(when.next(time.time())) if when and active else None,
            "script": self.script,
            "script_there": os.access(self.script, os.X_OK),
            "entry": entry.decode(errors="replace") or None,
            "last": last if isinstance(last, dict) else None,
        }

    def _when(self, entry: bytes) -> When | None:
        if self.kind == LAUNCHD:
            return launchd.when_of(entry)
        lines = [line for line in entry.decode(errors="replace").splitlines() if not line.startswith("#")]
        return times.of_cron(" ".join(lines[0].split()[:5])) if len(lines) == 1 else None
