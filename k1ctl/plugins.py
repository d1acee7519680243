"""Load plugins: one by name for a command, all of them for a broadcast; a broken one fails alone."""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING, Any

import pluggy

from k1ctl import discovery, hookspecs
from k1ctl.cutoff import CutOff
from k1ctl.errors import K1ctlError
from k1ctl.output import clean, say

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    import click
    from pluggy import HookImpl, Result


class PluginError(K1ctlError):
    """A plugin that cannot be loaded or breaks a rule; names the plugin, its module and the cause."""

    code = "broken-plugin"


class Plugins:
    """The plugins of this environment.

    ``targets`` {name: module} replaces discovery, for tests. ``broken`` holds what `load_all` could not load.
    ``K1CTL_PLUGINS`` says which may be loaded (`discovery.allowed`); with ``K1CTL_TRACE_PLUGINS`` each load and each
    call of a hook is a line on stderr.
    """

    def __init__(self, targets: dict[str, str] | None = None) -> None:
        self.manager = pluggy.PluginManager("k1ctl")
        self.manager.add_hookspecs(hookspecs)
        self._targets = targets
        self.broken: dict[str, PluginError] = {}
        self.traced = os.environ.get("K1CTL_TRACE_PLUGINS", "0") not in ("", "0")
        if self.traced:
            _trace_hooks(self.manager)

    @property
    def targets(self) -> dict[str, str]:
        """{plugin name: module} of everything that is installed and may be loaded."""
        if self._targets is None:
            self._targets = discovery.entry_points()
            if os.environ.get("K1CTL_PLUGINS"):
                self._targets = discovery.allowed(self._targets, os.environ["K1CTL_PLUGINS"])
        return self._targets

    def load(self, name: str) -> Any:
        """Import and register one plugin; what is loaded already is returned as it is. Raises PluginError."""
        plugin = self.manager.get_plugin(name)
        if plugin is not None:
            return plugin
        target = self.targets[name]
        if self.traced:
            return _traced_load(self, name, target)
        return self._import(name, target)

    def _import(self, name: str, target: str) -> Any:
        try:
            with _Talk():
                plugin = importlib.import_module(target)
            self.manager.register(plugin, name)
            self.manager.check_pending()
        except (Exception, SystemExit) as exc:  # a foreign module may fail in any way
            self.manager.unregister(name=name) if self.manager.has_plugin(name) else None
            hint = "pip uninstall or update the distribution that brings it"
            if set(target) & set(":["):
                hint = "its entry point has to be the name of a module, with nothing behind it"
            text = f"plugin {name} ({target}) did not load: {one_line(exc)}"
            raise PluginError(text, hint=hint, plugin=name) from exc
        return plugin

    def hooks(self, name: str) -> list[str]:
        """The hooks that plugin ``name`` implements, in the order of their names. Raises PluginError."""
        return [caller.name for caller in self.manager.get_hookcallers(self.load(name)) or ()]

    def command(self, name: str) -> click.Command:
        """The command of plugin ``name``; no other plugin is imported.

        Raises PluginError; its code is ``no-command`` for a plugin that implements other hooks only.
        """
        import click

        plugin, module = self.load(name), self.targets[name]
        others = [p for p in self.manager.get_plugins() if p is not plugin]
        try:
            with _Talk():
                commands = self.manager.subset_hook_caller("k1ctl_command", others)()
        except (Exception, SystemExit) as exc:
            raise PluginError(f"plugin {name} ({module}), k1ctl_command: {one_line(exc)}", plugin=name) from exc
        if not commands:
            adds = [hook for hook in self.hooks(name) if hook != "k1ctl_command"]
            text, code = (f"; it adds {', '.join(adds)}", "no-command") if adds else ("", "")
            raise PluginError(f"plugin {name} ({module}) adds no command{text}", plugin=name, code=code)
        if not isinstance(commands[0], click.Command):
            raise PluginError(f"plugin {name} ({module}), k1ctl_command: not a click.Command", plugin=name)
        if commands[0].name != name:
            raise PluginError(f"plugin {name} names its command {commands[0].name!r}; both must be equal", plugin=name)
        return commands[0]

    def load_all(self, seconds: float = 0.0) -> pluggy.HookRelay:
        """Load every plugin that loads, remember the others in ``broken``, and return the hooks to call.

        One that takes longer than ``seconds`` (0: no limit) is cut off; one that did not load is not tried again.
        """
        for name in sorted(self.targets):
            if name in self.broken:
                continue
            try:
                with CutOff(seconds):
                    self.load(name)
            except PluginError as exc:
                self.broken[name] = exc
        return self.manager.hook

    def each(
        self, hook_name: str, /, *, among: Collection[str] | None = None, seconds: float = 0.0, **kwargs: Any
    ) -> Iterator[tuple[str, list[Any] | K1ctlError]]:
        """Ask every plugin that implements a hook whose result is a list: (plugin name, its list or what went wrong).
        Only those ``among`` (None: all) are asked. One that takes longer than ``seconds`` (0: no limit) is cut off.

        One that fails, in whatever way, fails alone; its own K1ctlError is handed on as it is. Plugins come in the
        order of their names; those that did not load come too, as the PluginError that `load_all` remembers.
        """
        self.load_all(seconds)
        yield from sorted(self.broken.items())
        loaded = sorted(self.manager.list_name_plugin(), key=lambda pair: pair[0])
        for name, plugin in loaded:
            if not hasattr(plugin, hook_name) or (among is not None and name not in among):
                continue
            others = [other for _, other in loaded if other is not plugin]
            try:
                with _Talk(), CutOff(seconds):
                    answers = self.manager.subset_hook_caller(hook_name, others)(**kwargs)
                    items = [item for answer in answers for item in answer]
                yield name, items
            except K1ctlError as exc:
                yield name, exc
            except (Exception, SystemExit) as exc:  # a foreign plugin may fail in any way
                yield name, PluginError(f"plugin {name}, {hook_name}: {one_line(exc)}", plugin=name)


class _Talk:
    """What a plugin prints while it is loaded or asked is talk: stdout is for the data of the command."""

    def __enter__(self) -> None:
        self._stdout, sys.stdout = sys.stdout, sys.stderr

    def __exit__(self, *exc: object) -> None:
        sys.stdout = self._stdout


def one_line(exc: BaseException) -> str:
    """Type and text of a foreign exception on one line, in at most 300 characters."""
    try:
        text = " ".join(str(exc).split())
    except Exception:  # also its text may be broken
        text = "(its text cannot be shown)"
    return clean(f"{type(exc).__name__}: {text}" if text else type(exc).__name__)[:300]


def _traced_load(plugins: Plugins, name: str, target: str) -> Any:
    from time import perf_counter

    begun, how = perf_counter(), "failed after"
    try:
        plugin = plugins._import(name, target)
        how = "loaded in"
    finally:
        say(f"k1ctl: plugin {name} ({target}) {how} {perf_counter() - begun:.4f} s")
    return plugin


def _trace_hooks(manager: pluggy.PluginManager) -> None:
    """Tell each call of a hook on stderr: the plugins that answered, and the seconds they took."""
    from time import perf_counter

    begun: list[float] = []  # a hook may call another one

    def before(hook: str, impls: Sequence[HookImpl], kwargs: Mapping[str, Any]) -> None:
        begun.append(perf_counter())

    def after(outcome: Result[Any], hook: str, impls: Sequence[HookImpl], kwargs: Mapping[str, Any]) -> None:
        seconds = perf_counter() - begun.pop()
        who = ", ".join(impl.plugin_name for impl in impls) or "no plugin"
        failed = f", raised {type(outcome.exception).__name__}" if outcome.exception else ""
        say(f"k1ctl: hook {hook} of {who} took {seconds:.4f} s{failed}")

    manager.add_hookcall_monitoring(before, after)
