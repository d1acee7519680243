"""The queue as a chain of causes: who holds what, since when and how long still; who is before whom; what is paused."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

from k1ctl.files import read_json
from k1ctl.overview.parts import Sources
from k1ctl.process.view import describe_holder, describe_pause, readable
from k1ctl.queue import history, names, view
from k1ctl.queue.folder import queue_folder
from k1ctl.queue.incident import mark_of
from k1ctl.units import format_duration, parse_rfc3339

if TYPE_CHECKING:
    from k1ctl.config import Config
    from k1ctl.reasons import Reason, Subject
    from k1ctl.workspace import Workspace

_AHEAD = 5  # of those before one in line that are named


class Line:
    """The line of one moment: its ``entries`` and what is ``paused`` {resource: reason}."""

    def __init__(self, workspace: Workspace, config: Config) -> None:
        self.workspace, self.config = workspace, config
        self.folder = queue_folder(workspace, config)
        sources = Sources(workspace, config)
        self.entries = [{**e, "workspace": sources.owner(e)} for e in view.entries(self.folder)]
        self.paused = view.paused(self.folder)

    @property
    def tickets(self) -> str:
        """The folder whose file names say who holds and who waits."""
        return os.path.join(self.folder, "tickets")

    def who(self, entry: dict[str, Any]) -> str:
        """Whose a ticket is, in a few words."""
        return view.describe(entry)

    def wanted(self, entry: dict[str, Any]) -> str:
        """What a ticket stands in line for."""
        return ", ".join(f"{readable(r)} ({n} slots)" if n > 1 else readable(r) for r, n in entry["resources"].items())

    def since(self, at: str) -> str:
        """`` since 10:03:12Z (2 m 4 s)``; "" where the time is not known."""
        try:
            return f" since {at[11:19]}Z ({format_duration(max(0.0, time.time() - parse_rfc3339(at)))})" if at else ""
        except ValueError:
            return ""

    def usually(self, entry: dict[str, Any]) -> str:
        """How long such a lease usually lasts, by the last ones of its resource."""
        known = [t for t in (history.typical(self.folder, r) for r in entry["resources"]) if t is not None]
        return f"; such a lease usually lasts {format_duration(max(known))}" if known else ""

    def named(self, holder: dict[str, Any]) -> str:
        """A holder in a few words; one that was let in and has not begun waits for something behind the line."""
        holder = {**holder, "workspace": self.entry(holder).get("workspace", "?")}
        if holder.get("waits_for") or holder.get("granted_at"):
            return describe_holder(holder)
        what = holder.get("label") or holder.get("command") or "?"
        other = self.guarded(self.entry(holder))
        behind = f"let in, waits for {other} of another repository" if other else "let in and not begun"
        return f"{holder.get('workspace', '?')} ({what}, {behind})"

    def entry(self, holder: dict[str, Any]) -> dict[str, Any]:
        """The ticket of a holder with all that is known of it."""
        return next((e for e in self.entries if e["ticket"] == holder["ticket"]), holder)

    def held(self, entry: dict[str, Any]) -> dict[str, Any]:
        """A running entry as `describe_holder` takes it."""
        try:
            since = time.time() - parse_rfc3339(entry["granted_at"])
        except (KeyError, ValueError):
            since = 0.0
        return {**entry, "held_seconds": max(0.0, since)}

    def now(self, resources: list[str]) -> list[str]:
        """Who holds these now, a sentence each."""
        told = []
        for resource in resources:
            each = set(names.alternatives(resource))
            holders = [e for e in self.entries if e["state"] == "running" and each & {*e["resources"]}]
            who = "; ".join(self.named(self.held(e)) for e in holders[:2])
            more = f" and {len(holders) - 2} more" if len(holders) > 2 else ""
            told.append(
                f"by now {readable(resource)} is held by {who}{more}"
                if who
                else f"by now nobody holds {readable(resource)}"
            )
        return told

    def full(self, entry: dict[str, Any]) -> list[str]:
        """The resources of a waiting ticket that have no room for it behind those that hold and those before it."""
        found: list[str] = []
        for resource, need in entry["resources"].items():
            each = names.alternatives(resource)
            if all(self._free(r, entry) < need for r in each):
                found += each
        return found

    def _free(self, resource: str, entry: dict[str, Any]) -> int:
        taken = 0
        for other in self.entries:
            if other["ticket"] == entry["ticket"]:
                break
            if other["state"] in ("running", "waiting"):
                taken += int(other["resources"].get(resource, 0))
        return int(self.config.slots(resource)) - taken

    def slots_text(self, full: list[str]) -> str:
        """``all 4 slots `` where a resource has several."""
        slots = int(self.config.slots(full[0])) if len(full) == 1 else 1
        return f"all {slots} slots " if slots > 1 else ""

    def limits(self, full: list[str]) -> str:
        """The slots of what binds."""
        return ", ".join(f"{r}: {self.config.slots(r)}" for r in full)

    def ahead(self, entry: dict[str, Any]) -> list[str]:
        """Who stands before a ticket in its lines, the next one first, and what holds him up besides."""
        lines, found = set(names.lines(entry["resources"])), []
        for other in self.entries:
            if other["ticket"] == entry["ticket"]:
                break
            if other["state"] == "waiting" and lines & set(names.lines(other["resources"])):
                found.append(other)
        told = [
            f"before it: {self.who(o)} (ticket {o['ticket']}{self._priority(o, entry)}), which waits for "
            f"{self.wanted(o)}{self.since(o.get('queued_at', ''))}{self._kept_back(o)}"
            for o in found[:_AHEAD]
        ]
        return [*told, *([f"and {len(found) - _AHEAD} more before it"] if len(found) > _AHEAD else [])]

    def _priority(self, other: dict[str, Any], entry: dict[str, Any]) -> str:
        return f", priority {other['priority']}" if other["priority"] != entry["priority"] else ""

    def _kept_back(self, entry: dict[str, Any]) -> str:
        stopped = [describe_pause(r, why) for r, why in self.paused.items() if r in names.lines(entry["resources"])]
        return f"; {'; '.join(stopped)}" if stopped else ""

    def holder(self, holder: dict[str, Any]) -> list[str]:
        """Sentences on one who holds a lease: how long still, and what he waits for himself."""
        entry = self.entry(holder)
        who, held = self.who(entry), self.wanted(entry) if "resources" in entry else "it"
        told = f"{who} (ticket {holder['ticket']}) holds {held}{self.since(str(entry.get('granted_at', '')))}"
        typical = [t for t in (history.typical(self.folder, r) for r in entry.get("resources", {})) if t is not None]
        if typical and not holder.get("waits_for") and entry.get("granted_at"):
            left = max(typical) - holder.get("held_seconds", 0.0)
            usual = format_duration(max(typical))
            ends = f"about {format_duration(left)} are left" if left > 0 else "it takes longer than that"
            told += f"; such a lease usually lasts {usual}: {ends}"
        found = [told]
        if holder.get("waits_for"):
            found.append(f"{who} itself waits for room on this host: {holder['waits_for']}")
        if other := self.guarded(entry):
            found.append(f"{who} itself waits: another repository of this host holds the device ({other})")
        return found + self.outlived(entry)

    def guarded(self, entry: dict[str, Any]) -> str:
        """Who of another repository holds the device that this lease is of; "" for nobody."""
        if entry.get("group") or not any(r.startswith("device:") for r in entry.get("resources", {})):
            return ""
        from k1ctl.process.guards import in_the_way

        return in_the_way(self.config, entry["resources"], entry.get("run", ""))

    def outlived(self, entry: dict[str, Any]) -> list[str]:
        """What is to be said of a lease whose supervisor is gone, or that a script has."""
        from k1ctl import groups

        if entry.get("kind") == "script":
            name = entry.get("holder") or "a script"
            return [f"{name} (process {entry.get('owner', '?')}) has the lease by a descriptor: it ends with it"]
        if "pid" in entry and not groups.living(entry["pid"]):
            group = f" (process group {entry['group']})" if entry.get("group") else ""
            return [f"its supervisor (process {entry['pid']}) is gone; its command{group} lives on and keeps the lease"]
        left = self.left_behind(entry)
        return [f"its command is over; what it left running ({left}) keeps the lease"] if left else []

    def left_behind(self, entry: dict[str, Any]) -> str:
        """What lives on of a run whose command is over: ``process 7, 8``; "" where it is not so."""
        found = read_json(self.workspace.ops_path("runs", str(entry.get("run") or "-"), "run.json"))
        if not isinstance(found, dict) or found.get("state") != "lingering":
            return ""
        pids = found.get("processes") or []
        return f"process{'' if len(pids) == 1 else 'es'} {', '.join(map(str, pids[:_AHEAD]))}"

    def pause(self, subject: Subject, resource: str, why: str) -> Reason:
        """What stands behind a pause: a person, an incident and whose it is, or a device out of service."""
        from k1ctl.reasons import BLOCKED, Reason

        device = resource.partition(":")[2]
        if why.startswith(names.OUT_OF_SERVICE):
            found = subject.find("device.disabled", device=device, limit=1)
            who = found[-1].get("by", "") if found else ""
            nxt = f"`k1ctl device enable {device}`, once whoever took it out of service agrees"
            return Reason(BLOCKED, why, code="out-of-service", holder=str(who), events=found, next=nxt)
        found = subject.find("queue.paused", resource=resource, limit=1)
        at = self.since(str(found[-1].get("at", ""))).replace(" since ", " at ", 1) if found else ""
        mark = mark_of(why)
        if not mark:
            who = f"somebody in {found[-1]['workspace']}" if found else "somebody"
            nxt = f"`k1ctl queue resume {resource}`, once whoever paused it agrees"
            return Reason(
                BLOCKED, why, code="paused", holder=who, events=found, chain=[f"{who} paused it{at}"], next=nxt
            )
        return self._incident(subject, device, mark, at, found)

    def _incident(self, subject: Subject, device: str, mark: str, at: str, found: list[dict[str, Any]]) -> Reason:
        from k1ctl.escalation import keeper
        from k1ctl.reasons import BLOCKED, Reason

        state = keeper.load(self.workspace, device)
        chain = [f"an incident of {device} paused it{at}; it goes on as soon as the device answers"]
        if state["offline"]:
            chain.append(f"nobody answers there: {state['offline']['message']}")
        for name, failure in state["failures"].items():
            chain.append(f"{name}: run {failure['run']} failed there ({failure['code']}: {failure['message']})")
        steps = subject.find("escalation.step", device=device, limit=3)
        return Reason(
            BLOCKED,
            mark,
            code="incident",
            holder=mark.strip("[]"),
            chain=chain,
            events=steps + found,
            files=[keeper.state_path(self.workspace, device)],
            next=f"look at the device; `k1ctl device escalation {device}` has the steps and who was told",
        )
