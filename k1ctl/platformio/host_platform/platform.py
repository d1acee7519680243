"""PlatformIO's view of the host platform; the class name follows from ``name`` in platform.json."""

from platformio.public import PlatformBase


class K1hostPlatform(PlatformBase):  # type: ignore[misc]
    """A platform that needs no package: compiler and linker are this host's."""

    @property
    def packages(self) -> dict[str, object]:
        return {}

    def is_embedded(self) -> bool:
        return True
