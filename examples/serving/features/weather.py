"""Makes the weather's database: python weather.py FILE. In production somebody else's pipeline does, every hour."""

import contextlib
import sqlite3
import sys
import time

NOW = {"EWR": (8.0, 0.0), "JFK": (20.0, 1.5), "LGA": (12.0, 0.5)}


def write(file, made_at=None):
    with contextlib.closing(sqlite3.connect(file)) as database, database:
        database.execute("create table if not exists weather (origin text primary key, wind, rain, made_at)")
        database.executemany(
            "replace into weather values (?, ?, ?, ?)",
            [(origin, wind, rain, made_at or time.time()) for origin, (wind, rain) in NOW.items()],
        )


if __name__ == "__main__":
    write(sys.argv[1])
