"""What is known about a flight before it departs: the names every request, training row and model shares."""

from __future__ import annotations

CATEGORIES = ["carrier", "origin", "dest"]
SCHEDULE = ["dep_hour", "dep_minute", "arr_hour", "weekday", "distance_miles"]
WEATHER = ["temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib"]
"""At the origin, in the hour of the scheduled departure. Stations miss readings: any of these may be missing."""

FEATURES = [*CATEGORIES, *SCHEDULE, *WEATHER]
LABEL = "late"

LATE_MINUTES = 15
"""Later than this at the gate is late, as airlines themselves count it."""
