"""Loaded by the worker process of a test: it then knows the networks of the tests, and can be made to dawdle or die.

Environment variables: ``WORKER_DAWDLES_AT`` names the stage after whose first line the process sleeps;
``WORKER_DIES_AT`` names the stage at which it crashes.
"""

import os
import sys
import time

if "HNTumorSegLib.worker" in sys.orig_argv:
    from HNTumorSegLib import networks, worker_protocol

    networks.NETWORKS["threshold"] = ("threshold_net", "ThresholdNet")
    networks.NETWORKS["marked"] = ("marked_net", "MarkedNet")
    _to_line = worker_protocol.to_line
    _stage = ""

    def to_line(message):
        global _stage
        if _stage == os.environ.get("WORKER_DAWDLES_AT", "-"):
            _stage = ""
            time.sleep(60)
        if _stage == os.environ.get("WORKER_DIES_AT", "-"):
            os.abort()
        _stage = getattr(message, "stage", "")
        return _to_line(message)

    worker_protocol.to_line = to_line
