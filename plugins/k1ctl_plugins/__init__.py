"""The commands that ship with k1ctl, one module or package each; they use only the hooks that outsiders get."""
