"""The last uploads, and how they went within a day."""

from __future__ import annotations

from k1ctl.overview.builds import of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from k1ctl.overview.parts import Part, Sources


def look(sources: Sources) -> Part:
    """As `k1ctl.overview.builds.of` has it, of uploads."""
    return of(sources, "upload")
