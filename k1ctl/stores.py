"""Stores off the host: what a plugin gives ``k1ctl archive push`` and ``k1ctl artifact push``."""

from __future__ import annotations

from k1ctl.errors import ConfigError, K1ctlError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from k1ctl.config import Config
    from k1ctl.plugins import Plugins
    from k1ctl.workspace import Workspace


class StoreError(K1ctlError):
    """A store did not do what it was asked to; the message says which and why, without its keys."""

    code = "store-failed"


class Store:
    """A place off this host that keeps files under keys. Subclass it and return it from `k1ctl_archive_store`.

    A key is a path of parts divided by ``/``, each of letters, digits and ``-_.``, none of them ``.`` or ``..``
    (`check_key`). ``name`` is the store's in ``[stores.NAME]``. All raise StoreError.
    """

    name = ""

    def prepare(self) -> None:
        """Make the place ready for its first use, because a person said that it is the right one.

        What is there already stays. A store that has nothing to make ready checks that it can be used.
        """

    def put(self, key: str, path: str) -> None:
        """Keep the file at ``path`` under ``key``, whole or not at all; what is there under it is replaced."""
        raise NotImplementedError

    def get(self, key: str, path: str) -> None:
        """Write what is kept under ``key`` to the new file ``path``. Raises KeyError when there is nothing."""
        raise NotImplementedError

    def list(self, prefix: str) -> list[tuple[str, int]]:
        """The keys that begin with ``prefix``, in order, each with its size in bytes."""
        raise NotImplementedError

    def delete(self, key: str) -> None:
        """Forget ``key``; nothing there is no error."""
        raise NotImplementedError


_IN_KEYS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.")
_KEY_LIMIT = 900  # characters; S3 takes 1,024 bytes, with a prefix before it


def is_key(key: str) -> bool:
    """Whether ``key`` is one, as `Store` says."""
    parts = key.split("/")
    return len(key) <= _KEY_LIMIT and all(p and p not in (".", "..") and _IN_KEYS.issuperset(p) for p in parts)


def check_key(key: str) -> str:
    """``key``, when it is one. Raises StoreError (bad-key)."""
    if not is_key(key):
        raise StoreError(f"{key!r} is no key of a store", hint="parts of letters, digits and -_.", code="bad-key")
    return key


def key_part(text: str) -> str:
    """``text`` as one part of a key: what keys do not take becomes ``-``."""
    part = "".join(c if c in _IN_KEYS else "-" for c in text)[:100]
    return part if part.strip(".") else "-"


def open_store(plugins: Plugins, workspace: Workspace, config: Config, name: str) -> Store:
    """The store ``[stores.NAME]``. Raises ConfigError when no plugin knows it, and what the plugin raises for it."""
    if not name:
        raise ConfigError(
            "no store is configured",
            hint='set [stores.NAME] kind and path, and archive.store = "NAME"',
            code="no-store",
        )
    failed: list[K1ctlError] = []
    for _, given in plugins.each("k1ctl_archive_store", workspace=workspace, config=config):
        if isinstance(given, K1ctlError):
            failed.append(given)
            continue
        for store in given:
            if store.name == name:
                assert isinstance(store, Store)
                return store
    if failed:
        raise failed[0]
    raise ConfigError(f"there is no store {name}", hint=f"set [stores.{name}] kind", code="no-store")
