"""The books' tables, as one script a version. A file of an older version is brought up to date when it is opened."""

import sqlite3

from tidemill.core.errors import ConfigurationError

MIGRATIONS = (
    """
    CREATE TABLE requests (
        id INTEGER PRIMARY KEY,
        ended_unix_seconds REAL NOT NULL,
        request_id TEXT NOT NULL,
        model TEXT NOT NULL,
        key TEXT NOT NULL,
        outcome TEXT NOT NULL,
        num_prompt_tokens INTEGER NOT NULL,
        num_cached_tokens INTEGER NOT NULL,
        num_output_tokens INTEGER NOT NULL,
        requests_joules REAL NOT NULL,
        waste_aborted_joules REAL NOT NULL,
        waste_failed_joules REAL NOT NULL,
        waste_recomputed_joules REAL NOT NULL,
        avoided_joules REAL NOT NULL,
        stated_joules REAL NOT NULL,
        water_onsite_liters REAL NOT NULL,
        water_offsite_liters REAL NOT NULL,
        operational_grams_co2e REAL NOT NULL,
        embodied_grams_co2e REAL NOT NULL,
        cost REAL NOT NULL
    );
    CREATE INDEX requests_by_time ON requests (ended_unix_seconds);
    CREATE TABLE hours (
        hour_unix_seconds INTEGER NOT NULL,
        model TEXT NOT NULL,
        method TEXT NOT NULL,
        meter_joules REAL NOT NULL,
        idle_joules REAL NOT NULL,
        idle_water_onsite_liters REAL NOT NULL,
        idle_water_offsite_liters REAL NOT NULL,
        idle_operational_grams_co2e REAL NOT NULL,
        idle_embodied_grams_co2e REAL NOT NULL,
        idle_cost REAL NOT NULL,
        residual_joules REAL NOT NULL,
        modelled_joules REAL NOT NULL,
        PRIMARY KEY (hour_unix_seconds, model, method)
    ) WITHOUT ROWID;
    """,
)


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the file up to date, one version after the other, each whole or not at all.

    Raises `ConfigurationError` for a file that a newer Tidemill has written, or `sqlite3.Error`.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    check_known(version)
    for number in range(version + 1, len(MIGRATIONS) + 1):
        connection.execute("BEGIN IMMEDIATE")
        # Another server may have the same file: whoever takes the lock first brings it up to date for both.
        if connection.execute("PRAGMA user_version").fetchone() == (number - 1,):
            for statement in MIGRATIONS[number - 1].split(";"):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {number}")
        connection.execute("COMMIT")


def check_known(version: int) -> None:
    """Raises `ConfigurationError` for a file that a newer Tidemill has written."""
    if version > len(MIGRATIONS):
        raise ConfigurationError(
            f"The books are of version {version}, and this Tidemill knows up to {len(MIGRATIONS)}.",
            next_step="Use the newer Tidemill that wrote them, or another --ledger-path.",
        )
