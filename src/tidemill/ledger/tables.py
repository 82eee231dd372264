"""The figures of others that ship with Tidemill: grids, and servers' power. Each file names its source."""

from importlib.resources import files

import msgspec

WORLD = "world"


class GridTable(msgspec.Struct, frozen=True, kw_only=True):
    """One figure a zone (ISO 3166-1 alpha-3, or `world`), and the year it is of."""

    version: str
    unit: str
    source: str
    license: str
    rows: dict[str, tuple[float, int]]


class ServerPower(msgspec.Struct, frozen=True, kw_only=True):
    """A server as it was measured at the wall."""

    architecture: str
    processor: str
    full_watts: float
    idle_watts: float
    num_threads: int
    published: str


class ServerTable(msgspec.Struct, frozen=True, kw_only=True):
    """Servers by the architecture of their processors; `architectures` is by "vendor family model"."""

    version: str
    unit: str
    source: str
    families: str
    architectures: dict[str, str]
    servers: tuple[ServerPower, ...]


def grid_carbon() -> GridTable:
    """Grams CO2e per kWh."""
    return msgspec.json.decode(_read("grid_carbon.json"), type=GridTable)


def grid_water() -> GridTable:
    """Liters consumed per kWh."""
    return msgspec.json.decode(_read("grid_water.json"), type=GridTable)


def server_power() -> ServerTable:
    """Watts of servers."""
    return msgspec.json.decode(_read("server_power.json"), type=ServerTable)


def _read(name: str) -> bytes:
    return (files("tidemill.ledger") / "data" / name).read_bytes()
