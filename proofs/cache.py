"""Where engines keep what they can make or ask again: one directory of the user's."""

from __future__ import annotations

import os
from pathlib import Path


def cache_directory() -> Path:
    """$KMEMSPEC_CACHE, or kmemspec in the user's cache directory."""
    if chosen := os.environ.get("KMEMSPEC_CACHE"):
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(base) / "kmemspec"
