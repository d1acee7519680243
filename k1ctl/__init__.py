"""k1ctl lets many coding agents share one device, its build slots and one machine."""

__version__ = "0.1.0"
