"""Tests share the cores: one compute thread each, also for the servers they start, unless a test asks for more."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TIDEMILL_THREADS", "1")
