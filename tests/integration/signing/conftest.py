"""Makes the modules of the test Sigstore and of the test registry importable."""

from __future__ import annotations

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))
sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "unit" / "adapters" / "signing"))
sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "contract"))
