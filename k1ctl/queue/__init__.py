"""The queue engine: tickets and leases on flock, one folder and one mutex for all resources.

Callers use `Ticket` to stand in line, `holders`, `waiting` and `cancel` to look and to act; nobody outside this
package touches ticket files, so that another store can take their place.
"""
