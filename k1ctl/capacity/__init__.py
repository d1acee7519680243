"""How much the host can carry: what is so, what was promised, whether one more fits, and what binds.

What is counted here belongs to the host and not to a repository: promises lie in the host's folder
(`k1ctl.workspace.host_dir`), so that two repositories do not give the same memory away twice.
"""
