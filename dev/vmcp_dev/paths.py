"""Where things that outlive a process are kept."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """`$XDG_CACHE_HOME/vmcp`, or `~/.cache/vmcp`: may be deleted at any time, is filled again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vmcp"


def state_file() -> Path:
    """What `up` writes for `down` and `kubeconfig`, below `$XDG_STATE_HOME` or `~/.local/state`."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "vmcp" / "dev.json"
