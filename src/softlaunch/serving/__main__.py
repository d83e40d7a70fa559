"""`python -m softlaunch.serving`: see main."""

from __future__ import annotations

import os
import sys

from softlaunch.serving import settings

if __name__ == "__main__":
    _settings = settings.parse(sys.argv[1:])
    # BLAS and OpenMP read these when numpy is imported, hence before anything else. Replicas scale over cores; a model
    # call that takes them all makes its neighbours' latency worse.
    for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(_variable, str(_settings.threads))

    from softlaunch.serving import main

    main.run(_settings)
