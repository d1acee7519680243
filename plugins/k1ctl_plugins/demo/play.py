"""The agents: each makes its worktree, changes a source, builds and uploads, all at once."""

from __future__ import annotations

import time
from pathlib import Path
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any

from k1ctl.errors import K1ctlError
from k1ctl_plugins.demo.timeline import Timeline

if TYPE_CHECKING:
    from k1ctl_plugins.demo.stage import Stage

_NAMES = ("oslo", "lima", "kyoto", "cairo", "quito", "turin", "perth", "delhi", "porto", "sofia", "hanoi", "dakar")
_SOURCE = """#include "pattern.h"

const char pattern_name[] = "{name}";

void render_pattern(unsigned char *frame, size_t size, unsigned step) {{
    for (size_t i = 0; i < size; i++) {{
        frame[i] = (unsigned char)(step * {factor}u + i);
    }}
}}
"""


class Agent:
    """One agent: its ``name``, its ``worktree``, its ``stage`` now, and what its commands answered."""

    def __init__(self, number: int) -> None:
        self.number = number
        again = number // len(_NAMES)
        self.name = _NAMES[number % len(_NAMES)] + (f"-v{again + 1}" if again else "")
        self.stage = "starting"
        self.worktree = Path()
        self.build: dict[str, Any] = {}
        self.upload: dict[str, Any] = {}
        self.record: dict[str, Any] = {}
        self.error = ""
        self.seconds: dict[str, float] = {}

    def document(self) -> dict[str, Any]:
        """The agent's story as JSON-able facts."""
        return {
            "agent": self.name,
            "worktree": str(self.worktree),
            "ticket": self.record.get("ticket"),
            "artifact": self.build.get("artifact", {}).get("id"),
            "sha256": self.build.get("artifact", {}).get("sha256"),
            "bytes": self.upload.get("bytes"),
            "outcome": self.upload.get("outcome", "failed"),
            "wait_seconds": self.record.get("wait_seconds"),
            "transfer_seconds": self.upload.get("transfer_seconds"),
            "stage_seconds": self.seconds,
            "error": self.error,
        }


def run(stage: Stage, count: int) -> list[Agent]:
    """Let ``count`` agents work at once, showing what each does; returns them when all are done."""
    agents = [Agent(i) for i in range(count)]
    lock = Lock()
    threads = [Thread(target=_work, args=(stage, agent, lock)) for agent in agents]
    timeline = Timeline(stage.ops, agents)
    try:
        for thread in threads:
            thread.start()
        while any(t.is_alive() for t in threads):
            timeline.show()
            time.sleep(0.1)
    except BaseException:
        stage.stop()
        raise
    finally:
        for thread in threads:
            if thread.ident is not None:
                thread.join()
        timeline.show()
        timeline.close()
    stage.go_on()
    return agents


def _work(stage: Stage, agent: Agent, lock: Lock) -> None:
    try:
        with _Timed(agent, "set-up"):
            made = stage.k1ctl(["worktree", "add", agent.name, "--json"])
        agent.worktree = Path(made["path"])
        source = agent.worktree / "firmware" / "src" / "pattern.c"
        source.write_text(_SOURCE.format(name=agent.name, factor=2 * agent.number + 3), encoding="utf-8")
        with _Timed(agent, "build"):
            agent.build = stage.k1ctl(["build", "fw", "--json"], cwd=agent.worktree)
        with _Timed(agent, "upload"):
            agent.upload = stage.k1ctl(["upload", "fw", "--json"], cwd=agent.worktree)
        agent.record = _record(stage, agent.upload["run"])
        agent.stage = "done"
    except (K1ctlError, OSError, KeyError) as exc:
        with lock:
            agent.error, agent.stage = str(exc), "failed"


class _Timed:
    def __init__(self, agent: Agent, stage: str) -> None:
        self.agent, self.stage = agent, stage

    def __enter__(self) -> None:
        self.agent.stage, self.since = self.stage, time.monotonic()

    def __exit__(self, *exc: object) -> None:
        self.agent.seconds[self.stage] = round(time.monotonic() - self.since, 3)


def _record(stage: Stage, run_id: str) -> dict[str, Any]:
    from k1ctl.files import read_json

    return read_json(str(stage.ops / "runs" / run_id / "run.json")) or {}
