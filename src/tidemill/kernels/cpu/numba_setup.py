"""What Numba must be told before its first kernel: where its cache is, and which threads it runs on."""

import hashlib
import os
from pathlib import Path

from numba.core import config

from tidemill.core.private_folder import private_cache_folder

INSIDE = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
"""Options of functions that only compiled code calls: ways in from Python and C are not compiled for nothing."""


def configure() -> bool:
    """Give Numba a private cache directory and a good threading layer; whether kernels can be cached.

    OpenMP before the others: Numba's own work queue slows torch's products by half where both are used in turn.
    """
    config.THREADING_LAYER_PRIORITY = ["omp", "tbb", "workqueue"]
    base = os.environ.get("NUMBA_CACHE_DIR")
    # Numba's cache unpickles what it finds, so whoever can write there could run code here.
    folder = Path(base) if base else private_cache_folder("numba")
    if folder is None or (not base and not os.access(folder, os.W_OK)):
        return False
    config.CACHE_DIR = str(folder / _sources_digest())
    return True


def has_compiled() -> bool:
    """Whether there is a compiled kernel of this version in the cache. Ask after `configure`."""
    return next(Path(config.CACHE_DIR).glob("*/*.nbi"), None) is not None


def _sources_digest() -> str:
    """Numba renews a kernel when its own file changes, but not when a file it calls into does: so all files count.

    So does where they are, as Numba keeps kernels by it: of another copy's, nothing would be found.
    """
    digest = hashlib.sha256(str(Path(__file__).parent).encode())
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
