"""Images, and devices that misbehave on purpose byte by byte."""

from __future__ import annotations

import contextlib
import hashlib
import socket
import threading
from collections.abc import Callable, Iterator, Sequence

from k1ctl.device.image import CHIP_IDS
from k1ctl.device.ota import Limits

DESCRIPTION = (0xABCD5432).to_bytes(4, "little") + bytes(252)  # esp_app_desc_t of an application that says nothing


def make_image(
    segments: Sequence[bytes] = (b"code" * 200,),
    chip: str = "esp32s3",
    digest: bool = True,
    description: bytes = DESCRIPTION,
) -> bytes:
    """A valid application image with these segments, the first of them behind the application's description."""
    header = bytearray(24)
    header[0], header[1], header[23] = 0xE9, len(segments), int(digest)
    header[12:14] = CHIP_IDS[chip].to_bytes(2, "little")
    data, checksum = bytes(header), 0xEF
    for number, segment in enumerate([description + segments[0], *segments[1:]]):
        data += (0x3C000020 + number).to_bytes(4, "little") + len(segment).to_bytes(4, "little") + segment
        for byte in segment:
            checksum ^= byte
    data += bytes(15 - len(data) % 16) + bytes([checksum])
    return data + (hashlib.sha256(data).digest() if digest else b"")


def big_image(size: int = 300_000) -> bytes:
    """A valid image of about ``size`` bytes."""
    return make_image([bytes(range(256)) * (size // 256)])


IMAGE = big_image()
QUICK = Limits(invitations=10, invitation_interval=0.05, connect=0.3, idle=0.5, attempt=20.0, login=0.5)


@contextlib.contextmanager
def http_server(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """A TCP server whose connections are all handled by ``answer``; gives its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        done = threading.Event()

        def serve() -> None:
            while not done.is_set():
                link, _ = listener.accept()
                with link, contextlib.suppress(OSError):
                    if not done.is_set():
                        answer(link)

        thread = threading.Thread(target=serve)
        thread.start()
        port = listener.getsockname()[1]
        try:
            yield port
        finally:
            done.set()
            socket.create_connection(("127.0.0.1", port)).close()
            thread.join()


@contextlib.contextmanager
def ota_device(script: Callable[[socket.socket, int], None], reply: bytes = b"OK", answers: int = 1) -> Iterator[int]:
    """A device that answers invitations with ``reply`` and then runs ``script(link, size)``; gives its UDP port."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.1", 0))

        def serve() -> None:
            for _ in range(answers):
                datagram, peer = udp.recvfrom(256)
                words = datagram.split()
                if not words:
                    return
                udp.sendto(reply, peer)
                if reply != b"OK":
                    continue
                with socket.create_connection((peer[0], int(words[1]))) as link, contextlib.suppress(OSError):
                    link.settimeout(20)
                    script(link, int(words[2]))

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield udp.getsockname()[1]
        finally:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as waker:
                waker.sendto(b"", udp.getsockname())
            thread.join()


def take(link: socket.socket, size: int, acknowledge: bool = True) -> int:
    """Receive ``size`` bytes, acknowledging each read; how many came."""
    got = 0
    while got < size:
        piece = link.recv(min(1460, size - got))
        if not piece:
            break
        got += len(piece)
        if acknowledge:
            link.sendall(b"%d" % len(piece))
    return got
