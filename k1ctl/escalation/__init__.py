"""The escalation engine: who is to know of a device's trouble, and what is done about it."""
