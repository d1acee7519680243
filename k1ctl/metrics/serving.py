"""The samples over HTTP, on loopback alone: ``/metrics`` and ``/-/healthy``.

A page on the web could have its name resolve to 127.0.0.1 and read what a browser gets from here (DNS rebinding), so a
request that calls this server by another name than localhost is refused. Each connection carries one request, has a
thread and a limit of its own: one that reads slowly keeps nobody else. Requests that come while samples are taken get
those.
"""

from __future__ import annotations

import errno
import socket
import socketserver
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from k1ctl import __version__
from k1ctl.errors import BusyError, K1ctlError
from k1ctl.metrics.exposition import CONTENT_TYPES, OPENMETRICS, PROMETHEUS, render

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from k1ctl.samples import Family

ADDRESS = "127.0.0.1"
CLIENTS = 32  # that have not asked yet, at once; for a further one, the oldest of them is hung up on
PATIENCE = 10.0  # s: a client that neither asks nor reads for so long is hung up on
LOCAL = ("127.0.0.1", "localhost", "[::1]")
_INDEX = "k1ctl metrics\n\n/metrics\n/-/healthy\n"


class Scrapes:
    """Samples as text, taken by ``look`` when they are asked for, once for all who ask meanwhile."""

    def __init__(self, look: Callable[[], Sequence[Family]]) -> None:
        self._look, self._lock = look, threading.Lock()
        self._families: Sequence[Family] = ()
        self.taken = 0

    def text(self, form: str) -> bytes:
        """The samples in a format. Raises what ``look`` raises."""
        seen = self.taken
        with self._lock:
            if self.taken == seen:
                self._families = self._look()
                self.taken += 1
            families = self._families
        return render(families, form).encode()


class Server(ThreadingHTTPServer):
    """The server; ``names`` are those it may be called by beside `LOCAL`. Raises BusyError when the port is taken."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(
        self, port: int, look: Callable[[], Sequence[Family]], names: Sequence[str] = (), *, patience: float = PATIENCE
    ) -> None:
        self.scrapes, self.names, self.patience = Scrapes(look), {*LOCAL, *(n.lower() for n in names)}, patience
        self._silent: dict[int, socket.socket] = {}  # connections that have not asked yet, the oldest first
        self._counting = threading.Lock()
        if port and _answers(port):  # macOS lets a server have 127.0.0.1 where another one has all addresses
            raise taken(port)
        try:
            super().__init__((ADDRESS, port), Handler)
        except OSError as exc:
            if exc.errno in (errno.EADDRINUSE, errno.EACCES):
                raise taken(port, exc) from exc
            raise

    @property
    def url(self) -> str:
        """Where Prometheus is to ask, with the port that was taken."""
        return f"http://{ADDRESS}:{self.server_address[1]}/metrics"

    def server_bind(self) -> None:
        """Without asking the name service who we are, as HTTPServer does."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = ADDRESS, int(self.server_address[1])

    def process_request(self, request: Any, client_address: Any) -> None:
        """Take a client on; above `CLIENTS` of them the one that is silent for longest is hung up on."""
        with self._counting:
            self._silent[id(request)] = request
            if len(self._silent) > CLIENTS:
                oldest = self._silent.pop(next(iter(self._silent)))
                try:
                    oldest.shutdown(socket.SHUT_RDWR)  # its thread, which has the descriptor, ends by that
                except OSError:
                    pass
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve a client, and count it as silent no more however that ends."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.has_asked(request)

    def has_asked(self, request: Any) -> None:
        """This client is not silent any more: it is not hung up on for another one."""
        with self._counting:
            self._silent.pop(id(request), None)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news; anything else is told in one line."""
        import sys

        from k1ctl.output import say
        from k1ctl.plugins import one_line

        exc = sys.exception()
        if exc is not None and not isinstance(exc, ConnectionError | TimeoutError):
            say(f"k1ctl metrics: {one_line(exc)}")


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: Server
    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        """Wait for what the client says for the server's ``patience`` seconds."""
        self.request.settimeout(self.server.patience)
        super().setup()

    def do_GET(self) -> None:
        """Answer, whatever the method: HEAD gets no body."""
        self.server.has_asked(self.request)
        path = self.path.partition("?")[0]
        if not self._is_local():
            self._send(403, "text/plain; charset=utf-8", b"this server answers to localhost only\n")
        elif path == "/metrics":
            self._samples(negotiated(self.headers.get("Accept", "")))
        elif path == "/-/healthy":
            self._send(200, "text/plain; charset=utf-8", b"ok\n")
        elif path == "/":
            self._send(200, "text/plain; charset=utf-8", _INDEX.encode())
        else:
            self._send(404, "text/plain; charset=utf-8", b"/metrics is what there is\n")

    do_HEAD = do_GET

    def _samples(self, form: str) -> None:
        """Send the samples, or why there are none: a scrape that fails, not one of zeros."""
        try:
            text = self.server.scrapes.text(form)
        except Exception as exc:
            from k1ctl.output import say
            from k1ctl.plugins import one_line

            why = exc.message if isinstance(exc, K1ctlError) else one_line(exc)
            say(f"k1ctl metrics: {why}")
            self._send(503, "text/plain; charset=utf-8", f"{why}\n".encode("utf-8", "replace"))
            return
        self._send(200, CONTENT_TYPES[form], text)

    def _is_local(self) -> bool:
        names = self.headers.get_all("Host") or []
        if len(names) != 1:  # HTTP/1.0 has none, and no browser speaks that
            return not names and self.request_version == "HTTP/1.0"
        host = names[0].strip().lower()
        name, _, port = host.rpartition(":")
        return (name if port.isdigit() and name else host) in self.server.names

    def _send(self, code: int, kind: str, body: bytes) -> None:
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cache-Control", "no-store")
        self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def version_string(self) -> str:
        """Who answers, without the version of Python."""
        return f"k1ctl/{__version__}"

    def log_message(self, format: str, *args: Any) -> None:
        """A scrape every few seconds is no news."""


def negotiated(accept: str) -> str:
    """The format that an ``Accept`` header (RFC 9110, 12.5.1) prefers; Prometheus' own where it does not say."""
    best: dict[str, float] = {}
    for part in accept.split(","):
        kind, *parameters = [word.strip().lower() for word in part.split(";")]
        form = {"application/openmetrics-text": OPENMETRICS, "text/plain": PROMETHEUS}.get(kind)
        if form is None:
            continue
        given = dict(word.partition("=")[::2] for word in parameters)
        if form == OPENMETRICS and given.get("version", "1.0.0") not in ("1.0.0", "1.0"):
            continue
        try:
            quality = float(given.get("q", "1"))
        except ValueError:
            quality = 0.0
        best[form] = max(best.get(form, 0.0), quality)
    wanted = best.get(OPENMETRICS, 0.0)
    return OPENMETRICS if wanted > 0 and wanted >= best.get(PROMETHEUS, 0.0) else PROMETHEUS


def taken(port: int, exc: OSError | None = None) -> BusyError:
    """The error of a port that cannot be had, with who listens there where that can be known."""
    if exc is not None and exc.errno == errno.EACCES:
        return BusyError(
            f"port {port} is for the superuser only",
            hint="choose one above 1023, as --port 8080",
            code="port-refused",
            port=port,
        )
    who = _listener(port)
    return BusyError(
        f"port {port} is taken" + (f" by {who}" if who else ""),
        hint="choose another one with --port, or [metrics] port; --port 0 takes any that is free",
        code="port-taken",
        port=port,
    )


def _answers(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((ADDRESS, port)) == 0


def _listener(port: int) -> str:
    """``name (pid N)`` of who listens at a port; "" where this user may not know."""
    import psutil

    try:
        rows = psutil.net_connections(kind="tcp")
        found = [c.pid for c in rows if c.laddr and c.laddr.port == port and c.status == psutil.CONN_LISTEN and c.pid]
        return f"{psutil.Process(found[0]).name()} (pid {found[0]})" if found else ""
    except (psutil.Error, OSError):  # macOS tells the superuser only
        return ""
