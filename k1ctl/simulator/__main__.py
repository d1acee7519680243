"""``python -m k1ctl.simulator --folder DIR``: the simulated device in the foreground, until TERM."""

from __future__ import annotations

import argparse
import sys

from k1ctl.errors import K1ctlError
from k1ctl.simulator.daemon import serve
from k1ctl.simulator.device import FILESYSTEM_SIZE, IDENTITY, PARTITION


def main(argv: list[str]) -> int:
    """Parse the options and serve; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m k1ctl.simulator", description=__doc__)
    parser.add_argument("--folder", required=True)
    parser.add_argument("--name", default="k1")
    parser.add_argument("--ota-port", type=int, default=0)
    parser.add_argument("--http-port", type=int, default=0)
    parser.add_argument("--fault", action="append", default=[])
    parser.add_argument("--mac", default="")
    parser.add_argument("--identity", default=IDENTITY)
    parser.add_argument("--partition-size", type=int, default=PARTITION)
    parser.add_argument("--filesystem-size", type=int, default=FILESYSTEM_SIZE)
    parser.add_argument("--password-env", default="")
    parser.add_argument("--password-file", default="")
    parser.add_argument("--login", default="sha256")
    parser.add_argument("--usb", default="")
    parser.add_argument("--usb-tcp-port", type=int, default=0)
    parser.add_argument("--mdns", default="")
    parser.add_argument("--reboot-seconds", type=float, default=0.2)
    parser.add_argument("--ready-fd", type=int, default=-1)
    given = vars(parser.parse_args(argv))
    folder, name, faults, ready = (given.pop(key) for key in ("folder", "name", "fault", "ready_fd"))
    try:
        return serve(folder, name, faults, given, ready)
    except K1ctlError as exc:
        sys.stderr.write(f"{exc.message}\n")
        return exc.exit_code
    except OSError as exc:
        sys.stderr.write(f"{exc.strerror or exc}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
