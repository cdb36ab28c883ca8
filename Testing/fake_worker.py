"""A process that greets like the worker and answers every delineation wrongly, in the way its environment names."""

from __future__ import annotations

import json
import os
import sys

import numpy as np

NAMES = ("labels", "primary_probability", "node_probability", "uncertainty")


def say(**fields):
    print(json.dumps(fields), flush=True)


def main() -> None:
    way = os.environ["FAKE_WAY"]
    print("a launcher's greeting", flush=True)
    say(message="hello", protocol=99 if way == "protocol" else 2, version="9.9", pid=os.getpid())
    say(message="ready", torch="", load_s=0.0)
    for line in sys.stdin:
        request = json.loads(line)
        geometry = request["pet"]["geometry"]
        if way == "grid":
            geometry["origin_mm"][2] += 1.0
        if way == "exit":
            print("the licence server said no", file=sys.stderr)
            sys.exit(3)
        images = {}
        for name in NAMES:
            file = os.path.join(request["folder"], name + ".npy")
            if way != "file":
                np.save(file, np.zeros(geometry["size"][::-1], np.uint8))
            images[name] = {"file": file, "geometry": geometry, "start_ijk": [0, 0, 0]}
        say(
            message="result",
            id=request["id"],
            **images,
            spread=None,
            card=json.loads(os.environ["FAKE_CARD"]),
            device="fake",
            timings_s={},
            warnings=[],
            model_kept=False,
        )


if __name__ == "__main__":
    main()
