"""For tests of k1ctl and of plugins: a device without hardware.

Example::

    def test_upload(tmp_path):
        with SimulatedDevice(tmp_path / "device", "lost-ok:1") as device:
            (tmp_path / "ops" / "k1ctl.toml").write_text(device.toml("k1"))
"""

from k1ctl.simulator import SimulatedDevice

__all__ = ["SimulatedDevice"]
