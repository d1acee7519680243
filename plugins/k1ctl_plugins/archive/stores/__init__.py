"""The stores that k1ctl brings: a folder (of another disk, or of a network's), and any bucket that speaks S3."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from k1ctl.config import Config
    from k1ctl.stores import Store


def configured(config: Config) -> list[Store]:
    """A store for each [stores.NAME] whose kind is ``directory`` or ``s3``; nothing is opened yet."""
    found: list[Store] = []
    for name in config.names("stores"):
        section = config.section("stores", name)
        if section["kind"] == "directory":
            from k1ctl_plugins.archive.stores.directory import DirectoryStore

            found.append(DirectoryStore(name, section["path"]))
        elif section["kind"] == "s3":
            from k1ctl_plugins.archive.stores.s3 import S3Store

            found.append(S3Store(name, section))
    return found
