"""The service's modules are imported by name, as the model server does it."""

from __future__ import annotations

import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))
# Before scikit-learn is imported: for batches this small its threads cost more than they bring.
os.environ.setdefault("OMP_NUM_THREADS", "1")
