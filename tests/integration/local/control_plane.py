"""
A control plane that is only a fleet, to be killed: starts N replicas, says "started", then waits.

Arguments: DIRECTORY REPLICA_COUNT [MODE]; holds the home's lock meanwhile, as a real one does.
"""

import json
import pathlib
import sys
import threading

sys.path.insert(0, str(pathlib.Path(__file__).parent))

import local_stages

from softlaunch.adapters.local import lock

directory, count, mode = pathlib.Path(sys.argv[1]), int(sys.argv[2]), (sys.argv[3:] or [""])[0]
with lock.HomeLock(directory):
    fleet = local_stages.local_fleet(directory)
    for number in range(count):
        fleet.start(local_stages.spec(number, mode=mode))
    if count:
        print("started", flush=True)
    local_stages.wait_for(lambda: all(status.phase != "starting" for status in fleet.observe()))
    print(json.dumps({status.name: status.pid for status in fleet.observe()}), flush=True)
    threading.Event().wait()
