"""What a monitoring stack is told: samples of all plugins, bounded, under the names of this project and of its annex.

`gather` asks the plugins, `exposition` writes the text, `aliases` the older names, `rules` what Prometheus and Grafana
are given. Everything is read from files; a scrape starts no process, waits for no lock and asks no device.
"""
