"""The process engine: a run's supervisor, its front end, its record and its log.

`launch` forks a supervisor into a session of its own; it waits in line, holds the lease, runs the command and keeps
the record. The front end only watches, so its death changes nothing that the run's own rules do not say.
"""
