"""``k1ctl metrics serve``: the samples over HTTP, on loopback."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from k1ctl.cli import Context, pass_context
from k1ctl.output import emit_json, json_option, say

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from k1ctl.samples import Family


class _EndedError(BaseException):
    """A signal said that it is enough."""


@click.command(short_help="Serve the samples to Prometheus, on 127.0.0.1.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port, 0: any free one (default: metrics.port, 8080).")
@click.option("--no-aliases", is_flag=True, help="Leave out the annexes' names (default: [metrics] aliases).")
@click.option("--dry-run", is_flag=True, help="Say where it would serve, and whether the port can be had.")
@json_option
@pass_context
def serve(context: Context, port: int | None, no_aliases: bool, dry_run: bool, as_json: bool) -> None:
    """Serve /metrics on 127.0.0.1 until ^C or SIGTERM; /-/healthy says ok.

    Samples are taken from files when they are asked for, once for all who ask meanwhile, in OpenMetrics for who
    accepts it. The configuration is read anew each time. A request that calls this host by another name than
    localhost is refused; [metrics] hosts adds names.

    \b
    Example:
      k1ctl metrics serve
      k1ctl metrics serve --port 0 --json
      curl -s http://127.0.0.1:8080/metrics | grep ^k1_queue
    """
    from k1ctl.metrics import shared
    from k1ctl.metrics.serving import Server

    config = context.config
    wanted = int(config.get("metrics", "port")) if port is None else port
    look = _look(context, False if no_aliases else None)
    with _until_ended(), Server(wanted, look, config.get("metrics", "hosts")) as server:
        if dry_run:
            say(f"would serve {server.url}")
        else:
            shared.stay(context.workspace)
            server.scrapes.text("prometheus")  # so that the first scrape loads no plugin any more
            say(f"serving {server.url}")
        if as_json:
            emit_json({"ok": True, "dry_run": dry_run, "url": server.url, "port": server.server_port})
        if not dry_run:
            server.serve_forever(3600.0)  # seconds between two looks whether to end: a signal does not wait for them


def _look(context: Context, aliases: bool | None) -> Callable[[], list[Family]]:
    """Take the samples with the configuration of now; while that is broken, with the last one that was whole."""
    import os

    from k1ctl.config import load
    from k1ctl.errors import ConfigError, K1ctlError
    from k1ctl.metrics.gathering import gather
    from k1ctl.samples import GAUGE, Family

    config, told, folder = context.config, "", context.workspace.ops_path()
    was_there = os.path.isdir(folder)

    def look() -> list[Family]:
        nonlocal config, told, was_there
        if was_there and not os.path.isdir(folder):  # counters that begin at 0 again would be taken for what happened
            raise K1ctlError(f"{folder} is gone", code="metrics-no-ops")
        was_there = was_there or os.path.isdir(folder)
        valid, why = 1, ""
        try:
            config = load(context.workspace)
        except ConfigError as exc:
            valid, why = 0, exc.message
        if why and why != told:
            say(f"k1ctl: the configuration as it was is used on: {why}")
        told = why
        found = gather(context.plugins, context.workspace, config, aliases=aliases)
        return [*found.families, Family("k1_config_valid", GAUGE, "Whether ops/k1ctl.toml can be read (1).").add(valid)]

    return look


@contextmanager
def _until_ended() -> Iterator[None]:
    """SIGTERM and ^C end what stands within, and do what they did before again behind it."""
    from k1ctl.signals import signals

    def end(number: int, frame: FrameType | None) -> None:
        for each in before:
            signals.signal(each, signals.SIG_IGN)
        raise _EndedError

    before = {each: signals.getsignal(each) for each in (signals.SIGTERM, signals.SIGINT)}
    for each in before:
        signals.signal(each, end)
    try:
        yield
    except _EndedError:
        pass
    finally:
        for each, handler in before.items():
            signals.signal(each, handler)
