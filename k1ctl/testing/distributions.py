"""Distributions without pip: a folder on ``sys.path`` with modules and the metadata that makes plugins of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def add_distribution(
    folder: Path,
    name: str,
    entry_points: Mapping[str, str],
    modules: Mapping[str, str] | None = None,
    *,
    version: str = "1.0",
) -> Path:
    """Put a distribution into ``folder`` as pip would leave it there; returns ``folder``.

    ``entry_points`` are {plugin name: module}, ``modules`` {module: source}. With the folder in PYTHONPATH, k1ctl
    finds the plugins: ``workspace.run("hello", env={"PYTHONPATH": str(folder)})``.
    """
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", encoding="utf-8")
    rows = "".join(f"{plugin} = {module}\n" for plugin, module in entry_points.items())
    (info / "entry_points.txt").write_text(f"[k1ctl.plugins]\n{rows}", encoding="utf-8")
    for module, source in (modules or {}).items():
        (folder / f"{module}.py").write_text(source, encoding="utf-8")
    return folder
