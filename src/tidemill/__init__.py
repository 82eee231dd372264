"""Tidemill hosts large language models as a service on hardware you own."""

__version__ = "0.1.0"
