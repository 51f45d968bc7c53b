"""Runs the sweep on a Ray cluster (RAY_ADDRESS, or one that is started here) and merges it.

ray.py [WORKERS [GPUS_OF_EACH]]. The folder must be on a file system that all nodes see. Run again, it does what is missing.
"""

import os
import subprocess
import sys

# This file has the name of the package: its own folder is not where that is looked for.
sys.path = [place for place in sys.path if os.path.abspath(place or ".") != os.path.dirname(os.path.abspath(__file__))]

import ray  # noqa: E402

DIR = "@DIR@"
PROGRAM = os.environ.get("MECHSCOPE", "@PROGRAM@")


def main():
    workers = int(sys.argv[1]) if len(sys.argv) > 1 else @WORKERS@
    gpus = float(sys.argv[2]) if len(sys.argv) > 2 else 0

    # A worker that dies, with its node or without, is begun again and skips what is done.
    @ray.remote(num_cpus=1, num_gpus=gpus, max_retries=5, retry_exceptions=True)
    def work(worker):
        subprocess.run([PROGRAM, "sweep", "run", DIR, "--shards", f"{worker}/{workers}"], check=True)

    ray.init()
    ray.get([work.remote(worker) for worker in range(workers)])
    subprocess.run([PROGRAM, "sweep", "merge", DIR, "--whole"], check=True)


if __name__ == "__main__":
    main()
