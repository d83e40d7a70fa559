"""What all tests share."""

from __future__ import annotations

import hypothesis

# How long an example takes says something of the machine: the first text that is drawn on a fresh one builds tables of
# Unicode for seconds. Speed is measured in benchmarks/.
hypothesis.settings.register_profile("untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("untimed")
