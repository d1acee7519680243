"""The archive: a worktree's work kept so that nothing of it is lost, and brought back with one command."""
