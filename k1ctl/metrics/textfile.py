"""The file that node_exporter's textfile collector reads (github.com/prometheus/node_exporter, collector/textfile.go).

It reads every ``*.prom`` of its folder and skips a file with timestamps, or one that it may not read.
"""

from __future__ import annotations

import os

from k1ctl.errors import K1ctlError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from k1ctl.samples import Family
    from k1ctl.workspace import Workspace

SUFFIX = ".prom"


def checked(workspace: Workspace, file: str | None) -> str:
    """The path that is meant, ``ops/metrics/k1ctl.prom`` where none is given. Raises UsageError."""
    if file is None:
        return workspace.ops_path("metrics", "k1ctl" + SUFFIX)
    path = os.path.abspath(file)
    if not path.endswith(SUFFIX) or os.path.basename(path) == SUFFIX:
        raise UsageError(
            f"{file}: the textfile collector reads files that end in {SUFFIX} only",
            hint=f"k1ctl metrics write FOLDER/k1ctl{SUFFIX}, or: k1ctl metrics print",
        )
    if not os.path.isdir(os.path.dirname(path)):
        raise UsageError(f"there is no folder {os.path.dirname(path)}", hint="is it the collector's folder?")
    return path


def replace(path: str, families: Iterable[Family]) -> None:
    """Replace the file in one step; everybody may read it, whatever the umask. Raises K1ctlError (metrics-unwritable);
    then what stood there stands there still."""
    from k1ctl.files import write_atomic
    from k1ctl.metrics.exposition import render

    text, mask = render(families), os.umask(0o022)
    try:
        write_atomic(path, text)
    except OSError as exc:
        raise K1ctlError(
            f"{path} was not written: {exc.strerror}",
            hint="what stood there stands there still, with its old k1_exported_at_seconds",
            code="metrics-unwritable",
            path=path,
        ) from exc
    finally:
        os.umask(mask)
