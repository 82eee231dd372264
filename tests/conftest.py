"""Tests share the cores: one compute thread each, also for the servers they start, unless a test asks for more.

The books of servers that tests start lie in a folder of the test run, which goes with it.
"""

import atexit
import os
import shutil
import tempfile

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TIDEMILL_THREADS", "1")
os.environ["XDG_DATA_HOME"] = tempfile.mkdtemp(prefix="tidemill-tests-")
atexit.register(shutil.rmtree, os.environ["XDG_DATA_HOME"], ignore_errors=True)
