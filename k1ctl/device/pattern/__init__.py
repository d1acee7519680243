"""Testing patterns on a device: its REST API, sampling, baselines, and the worker that does it."""
