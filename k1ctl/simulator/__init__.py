"""A K1 without hardware, on loopback only: ArduinoOTA, the REST API, restarts, and the faults of real life."""

from k1ctl.simulator.simulated import SimulatedDevice

__all__ = ["SimulatedDevice"]
