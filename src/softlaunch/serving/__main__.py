"""`python -m softlaunch.serving`: see main."""

from __future__ import annotations

import os
import sys

from softlaunch.serving import settings

if __name__ == "__main__":
    _settings = settings.parse(sys.argv[1:])
    # BLAS, OpenMP (also XGBoost's, LightGBM's and PyTorch's) and others read these when they are imported, hence before
    # anything else. Replicas scale over cores; a model call that takes them all makes its neighbours' latency worse.
    for _variable in (
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "MKL_NUM_THREADS",
        "BLIS_NUM_THREADS",
        "VECLIB_MAXIMUM_THREADS",
        "NUMEXPR_NUM_THREADS",
        "NUMBA_NUM_THREADS",
        "POLARS_MAX_THREADS",
        "RAYON_NUM_THREADS",
    ):
        os.environ.setdefault(_variable, str(_settings.threads))
    # An idle OpenMP thread that spins takes the core another replica needs.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

    from softlaunch.serving import main

    main.run(_settings)
