"""The boards as a table, with what does not fit below it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from k1ctl.output import clean, table

if TYPE_CHECKING:
    from k1ctl.device.discover import Board


def boards(found: list[Board]) -> str:
    """One line a board; its remarks follow the table."""
    rows = [
        (
            board.device or ("(new)" if board.new else "(unknown)"),
            board.mac or "?",
            board.identity or "?",
            _network(board),
            board.port.path if board.port else "-",
        )
        for board in found
    ]
    lines = [table(rows, ("DEVICE", "MAC", "IDENTITY", "NETWORK", "USB"))]
    for board in found:
        who = board.device or board.mac or next(iter(board.hosts), "") or (board.port.path if board.port else "")
        lines += [clean(f"{who}: {remark}") for remark in board.remarks]
    return "\n".join(lines)


def _network(board: Board) -> str:
    if not board.services:
        return "-"
    service = board.services[0]
    port = f":{service.http_port}" if service.http_port not in (None, 80) else ""
    more = f" and {len(board.services) - 1} more" if len(board.services) > 1 else ""
    return f"{service.host} ({service.address}{port}){more}"
