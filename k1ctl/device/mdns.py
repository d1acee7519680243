"""Who announces itself by mDNS (RFC 6762, 6763), and what address a ``.local`` name has.

The package zeroconf carries the packets; what they say is read here, record by record, since anybody on the network may
say anything: two boards under one name, ports that are none, text that is no text. Questions are multicast (QM), so
that the answer reaches us also where another program on this host shares the port.
"""

from __future__ import annotations

import os
import time
from typing import Any, NamedTuple

from k1ctl.errors import K1ctlError, NotFoundError, UnreachableError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from zeroconf import Zeroconf

ARDUINO, HTTP = "_arduino._tcp.local.", "_http._tcp.local."
INTERFACE = "K1CTL_MDNS_INTERFACE"  # environment: the interface for those who name none
HINT = "pip install 'k1ctl[mdns]'"
_A, _PTR, _TXT, _SRV, _IN = 1, 12, 16, 33, 1  # RFC 1035, 2782
_ASK_AT = (0.0, 0.25, 1.0, 3.0, 7.0, 15.0, 31.0)  # seconds; RFC 6762, 5.2: the gaps at least double
_LOOK = 0.02
_MOST = 256  # records of a kind that are kept
_BOARDS = 64  # boards that are told, and then asked: no network has more
_TEXT = 200  # characters of a TXT value that are kept


class Service(NamedTuple):
    """A board that announced itself at one address: ``instance`` and ``host`` (``k1-reinvented.local``) are its names,
    ``ota_port`` that of `_arduino._tcp`, ``http_port`` that of `_http._tcp`, None where it said none; ``txt`` what
    belongs to the latter, else to the former."""

    instance: str
    host: str
    address: str
    ota_port: int | None
    http_port: int | None
    txt: dict[str, str]


def available() -> bool:
    """Whether the package zeroconf is installed."""
    from importlib.util import find_spec

    return find_spec("zeroconf") is not None


def check_available() -> None:
    """Raise NotFoundError (code mdns-missing) where it is not."""
    if not available():
        raise NotFoundError("mDNS needs the package zeroconf", hint=HINT, code="mdns-missing")


def browse(seconds: float, interface: str = "", enough: Callable[[list[Service]], bool] | None = None) -> list[Service]:
    """The boards that announce `_arduino._tcp`, or `_http._tcp` with a TXT ``device=``, in the order of their names.

    Listened is for ``seconds``, or until ``enough`` says so; only on ``interface`` (a name or an IPv4 address), else on
    the one in ``K1CTL_MDNS_INTERFACE``, else on every interface of this host. Raises NotFoundError (code
    mdns-missing), UnreachableError (code mdns-failed), ConfigError (unknown-interface).
    """
    with _Ear(interface) as ear:
        end = time.monotonic() + seconds
        for _ in ear.asking(lambda: [(ARDUINO, _PTR), (HTTP, _PTR), *ear.gaps()], end):
            if enough and enough(ear.services()):
                break
        return ear.services()


def addresses(host: str, seconds: float, interface: str = "") -> list[str]:
    """The IPv4 addresses that are announced for ``host`` (as ``k1-reinvented.local``) at its first answer, in order.

    [] when nobody answers within ``seconds``, or it is no host name. Raises as `browse` does.
    """
    name = host.rstrip(".").lower() + "."
    labels = name[:-1].split(".")
    if len(name) > 254 or not name.isascii() or not all(0 < len(label) < 64 for label in labels):
        return []
    with _Ear(interface) as ear:
        for _ in ear.asking(lambda: [(name, _A)], time.monotonic() + seconds):
            if ear.addresses.get(name):
                break
        return sorted(ear.addresses.get(name, ()))


class _Ear:
    """What was heard so far: pointers, services, texts and addresses by lower-case name."""

    def __init__(self, interface: str) -> None:
        self.pointers: dict[str, set[str]] = {}
        self.places: dict[str, set[tuple[str, int]]] = {}
        self.texts: dict[str, dict[str, str]] = {}
        self.addresses: dict[str, set[str]] = {}
        self._zeroconf = _open(interface, self)

    def __enter__(self) -> _Ear:
        return self

    def __exit__(self, *exc: object) -> None:
        self._zeroconf.close()

    def asking(self, questions: Callable[[], list[tuple[str, int]]], end: float) -> Iterator[None]:
        """Ask, again and again, and give way to the caller meanwhile, until ``end`` (monotonic seconds)."""
        begun, asked = time.monotonic(), 0
        while (now := time.monotonic()) < end:
            if asked < len(_ASK_AT) and now - begun >= _ASK_AT[asked]:
                self._ask(questions())
                asked += 1
            yield
            time.sleep(min(_LOOK, max(end - now, 0.0)))

    def _ask(self, questions: list[tuple[str, int]]) -> None:
        from zeroconf import DNSOutgoing, DNSQuestion  # type: ignore[attr-defined]

        out = DNSOutgoing(0)  # a query
        for name, kind in questions:
            out.add_question(DNSQuestion(name, kind, _IN))
        self._zeroconf.send(out)

    def hear(self, record: Any, gone: bool) -> None:
        """Take one record in; one that is taken back is forgotten."""
        name, kind = str(record.name).lower(), record.type
        if kind == _PTR:
            _keep(self.pointers, name, str(record.alias), gone)
        elif kind == _SRV:
            _keep(self.places, name, (str(record.server), int(record.port)), gone)
        elif kind == _TXT and not gone and len(self.texts) < _MOST:
            self.texts[name] = _properties(record.text)
        elif kind == _A:
            address = _address(record.address)
            if address:
                _keep(self.addresses, name, address, gone)

    def gaps(self) -> list[tuple[str, int]]:
        """What has to be asked for yet, since it did not come with the pointer."""
        found: list[tuple[str, int]] = []
        for alias in self._aliases():
            places = self.places.get(alias.lower(), ())
            if not places:
                found += [(alias, _SRV), (alias, _TXT)]
            found += [(server, _A) for server, _ in places if server.lower() not in self.addresses]
        return found[:20]

    def _aliases(self) -> list[str]:
        return sorted(alias for kind in (ARDUINO, HTTP) for alias in [*self.pointers.get(kind, ())])

    def services(self) -> list[Service]:
        """The boards as far as they are known by now."""
        boards: dict[tuple[str, str], dict[str, Any]] = {}
        for kind in (ARDUINO, HTTP):
            for alias in [*self.pointers.get(kind, ())]:
                if not alias.lower().endswith("." + kind):
                    continue
                instance = alias[: -len(kind) - 1]
                for server, port in [*self.places.get(alias.lower(), ())]:
                    board = boards.setdefault((instance.lower(), server.lower()), {"instance": instance})
                    if 0 < port < 65536:
                        board.setdefault(kind, set()).add(port)
                    board[f"txt {kind}"] = self.texts.get(alias.lower(), {})
        found: list[Service] = []
        for (_, server), board in boards.items():
            web = board.get(f"txt {HTTP}", {})
            if board.get(ARDUINO) or "device" in web:
                found += self._at(server, board, web or board.get(f"txt {ARDUINO}", {}))
        return sorted(found, key=lambda s: (s.host, s.address, s.http_port or 0, s.instance))[:_BOARDS]

    def _at(self, server: str, board: dict[str, Any], txt: dict[str, str]) -> list[Service]:
        """A board for each address, and for each port of the REST API where two share one name at one address."""
        ota, web = sorted(board.get(ARDUINO, ())), sorted(board.get(HTTP, ()))
        one = ota[0] if len(ota) == 1 else None
        host = server.rstrip(".")
        return [
            Service(board["instance"], host, address, one, port, txt)
            for address in sorted(self.addresses.get(server, ()))
            for port in (web or [None])
        ]


def _open(interface: str, ear: _Ear) -> Zeroconf:
    check_available()
    from zeroconf import Error, InterfaceChoice, IPVersion, RecordUpdateListener, Zeroconf

    class Listener(RecordUpdateListener):
        def async_update_records(self, zc: Any, now: float, records: Any) -> None:
            for update in records:
                try:
                    ear.hear(update.new, update.new.ttl == 0)
                except (AttributeError, TypeError, ValueError):  # not a record as its type says
                    continue

    where: Any = InterfaceChoice.All
    interface = interface or os.environ.get(INTERFACE, "")
    if interface:
        from k1ctl.device.interface import own_address

        where = [own_address(interface)]
    try:
        zeroconf = Zeroconf(interfaces=where, ip_version=IPVersion.V4Only)
    except K1ctlError:
        raise
    except (OSError, RuntimeError, Error) as exc:
        why = (exc.strerror if isinstance(exc, OSError) else "") or str(exc)
        raise UnreachableError(
            f"mDNS cannot be listened to here: {why}", hint="name the interface: --interface NAME", code="mdns-failed"
        ) from exc
    zeroconf.add_listener(Listener(), None)
    return zeroconf


def _keep(kept: dict[str, set[Any]], name: str, value: Any, gone: bool) -> None:
    if gone:
        kept.get(name, set()).discard(value)
    elif len(kept) < _MOST and len(kept.get(name, ())) < _MOST:
        kept.setdefault(name, set()).add(value)


def _address(packed: bytes) -> str:
    """An IPv4 address that a board on this network can have, as text; "" for any other.

    Who announces an address has us ask it: it is never one beyond the network, or of many.
    """
    from ipaddress import IPv4Address

    if len(packed) != 4:
        return ""
    address = IPv4Address(packed)
    usable = address.is_private and not (address.is_unspecified or address.is_multicast or address.is_reserved)
    return str(address) if usable else ""


def _properties(text: bytes) -> dict[str, str]:
    """The ``key=value`` pairs of a TXT record (RFC 6763, 6); what is no text is written with replacements."""
    found: dict[str, str] = {}
    while text:
        size, text = text[0], text[1:]
        key, _, value = text[:size].decode("utf-8", "replace").partition("=")
        if key and len(found) < 32:
            found.setdefault(key.lower()[:_TEXT], value[:_TEXT])
        text = text[size:]
    return found
