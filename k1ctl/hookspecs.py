"""Every hook a k1ctl plugin may implement. Names begin with ``k1ctl_``; hooks return values and mutate nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from collections.abc import Sequence

    import click

    from k1ctl.budget.transcripts import UsageReader
    from k1ctl.builds import BuildKind
    from k1ctl.checks import Check
    from k1ctl.config import Config
    from k1ctl.errors import K1ctlError
    from k1ctl.notify import Channel
    from k1ctl.reasons import Reason, Subject
    from k1ctl.samples import Family
    from k1ctl.setup import SetupStep
    from k1ctl.stores import Store
    from k1ctl.transports import Transport
    from k1ctl.workspace import Workspace

hookspec = pluggy.HookspecMarker("k1ctl")
hookimpl = pluggy.HookimplMarker("k1ctl")


@hookspec
def k1ctl_command() -> click.Command:  # type: ignore[empty-body]
    """Return the command this plugin adds; its name equals the plugin's entry-point name.

    Called for one plugin at a time, when its command is asked for or listed. `k1ctl.cli.purpose` decorates it with
    the heading that ``k1ctl --help`` lists it under. A plugin that adds other things only leaves this hook out.
    Example::

        @hookimpl
        def k1ctl_command() -> click.Command:
            return hello
    """


@hookspec
def k1ctl_build_kinds() -> Sequence[BuildKind]:  # type: ignore[empty-body]
    """Return the kinds of build this plugin adds, for ``kind`` in ``[targets.NAME]``.

    Called by ``k1ctl build``. A kind turns a target into the command to run, reads its log and names the files to
    keep. Two plugins that return the same name are an error that names both. Example::

        @hookimpl
        def k1ctl_build_kinds() -> list[BuildKind]:
            return [MakeKind()]
    """


@hookspec
def k1ctl_setup_steps(workspace: Workspace, config: Config) -> Sequence[SetupStep]:  # type: ignore[empty-body]
    """Return what ``k1ctl worktree setup`` has to do in this workspace, in order.

    A step is idempotent: run again, it finds its work done and says so. Example::

        @hookimpl
        def k1ctl_setup_steps(workspace: Workspace, config: Config) -> list[SetupStep]:
            return [SetupStep("submodules", update_submodules)]
    """


@hookspec
def k1ctl_transports() -> Sequence[Transport]:  # type: ignore[empty-body]
    """Return the ways to a device this plugin adds, for ``k1ctl upload --via NAME``.

    Called by ``k1ctl upload`` when ``--via`` is not ``auto``. A transport says what its worker is and what it needs;
    line, lease, guard, record and outcome are the upload's. Two plugins that return the same name are an error that
    names both. Example::

        @hookimpl
        def k1ctl_transports() -> list[Transport]:
            return [JtagTransport()]
    """


@hookspec
def k1ctl_notify(workspace: Workspace, config: Config) -> Sequence[Channel]:  # type: ignore[empty-body]
    """Return the channels over which this plugin tells people, those that are configured; none is an empty list.

    Called when a device's trouble reaches a person, becomes an incident or is over (docs/escalation.md), and by
    ``k1ctl notify``. Each channel is used under a limit of its own; one that fails or hangs is told and hides no other.
    Example::

        @hookimpl
        def k1ctl_notify(workspace: Workspace, config: Config) -> list[Channel]:
            return [DeskLamp()] if "desklamp" in config.plugins else []
    """


@hookspec
def k1ctl_archive_store(workspace: Workspace, config: Config) -> Sequence[Store]:  # type: ignore[empty-body]
    """Return the stores off this host that this plugin knows, those that are configured; none is an empty list.

    Called by ``k1ctl archive`` and ``k1ctl artifact`` for push, pull and what lists a store. Nothing secret is given to
    one. Example::

        @hookimpl
        def k1ctl_archive_store(workspace: Workspace, config: Config) -> list[Store]:
            return [TapeRobot("tape")] if "taperobot" in config.plugins else []
    """


@hookspec
def k1ctl_usage_readers() -> Sequence[UsageReader]:  # type: ignore[empty-body]
    """Return the kinds of transcript this plugin reads, of what agents used.

    Called by ``k1ctl budget sync``. A reader says where its agent keeps transcripts and finds the messages in their
    lines; positions, copies, prices and the ledger are the sync's. Two plugins that return the same name are an error
    that names both. Example::

        @hookimpl
        def k1ctl_usage_readers() -> list[UsageReader]:
            return [OtherAgent()]
    """


@hookspec
def k1ctl_samples(workspace: Workspace, config: Config) -> Sequence[Family]:  # type: ignore[empty-body]
    """Return what this plugin tells a monitoring stack now, from the files of ``ops/`` alone.

    Called by ``k1ctl metrics`` at every scrape: it starts no process, waits for no lock and asks no device. Two plugins
    that return a family of the same name are an error that names both. Example::

        @hookimpl
        def k1ctl_samples(workspace: Workspace, config: Config) -> list[Family]:
            return [Family("k1_lamps", GAUGE, "Lamps that are lit.").add(3, room="lab")]
    """


@hookspec
def k1ctl_checks(workspace: Workspace, config: Config) -> Sequence[Check]:  # type: ignore[empty-body]
    """Return what this plugin finds in order, or not, here; it mends nothing.

    Called by ``k1ctl doctor``. Each check is made within a second or two (who takes 30 s is cut off) and says how to
    mend what it finds. Example::

        @hookimpl
        def k1ctl_checks(workspace: Workspace, config: Config) -> list[Check]:
            return [Check("lamp", WARNING, "the lamp is broken", why="nobody sees", fix="k1ctl lamp replace")]
    """


@hookspec
def k1ctl_reasons(  # type: ignore[empty-body]
    workspace: Workspace, config: Config, subject: Subject
) -> Sequence[Reason | K1ctlError]:
    """Return why ``subject`` waits, was refused or failed, as far as this plugin knows; nothing is an empty list.

    Called by ``k1ctl why``. Each reason carries the events that prove it. An error among them says what could not be
    looked at, and hides nothing. Who takes longer than 2 s is left out. Example::

        @hookimpl
        def k1ctl_reasons(workspace: Workspace, config: Config, subject: Subject) -> list[Reason]:
            return [Reason(BLOCKED, "the lamp is borrowed", holder="oslo", next="ask oslo")]
    """
