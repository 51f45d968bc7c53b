"""Runs the sweep by datatrove and merges it: its local executor here; its Slurm and Ray executors take the same pipeline.

datatrove.py [TASKS [WORKERS]]. Run again, it does what is missing.
"""

import os
import subprocess
import sys

# This file has the name of the package: its own folder is not where that is looked for.
sys.path = [place for place in sys.path if os.path.abspath(place or ".") != os.path.dirname(os.path.abspath(__file__))]

from datatrove.executor import LocalPipelineExecutor  # noqa: E402
from datatrove.pipeline.base import PipelineStep  # noqa: E402

DIR = "@DIR@"
PROGRAM = os.environ.get("MECHSCOPE", "@PROGRAM@")


class Sweep(PipelineStep):
    """Every task runs its shards; what is done is skipped."""

    type = "sweep"
    name = "mechscope"

    def run(self, data, rank=0, world_size=1):
        yield from data or ()
        subprocess.run([PROGRAM, "sweep", "run", DIR, "--shards", f"{rank}/{world_size}"], check=True)


if __name__ == "__main__":
    tasks = int(sys.argv[1]) if len(sys.argv) > 1 else @WORKERS@
    workers = int(sys.argv[2]) if len(sys.argv) > 2 else 2
    # Completions of tasks are the parts themselves, which can be looked at; datatrove's own notes of them are not used.
    LocalPipelineExecutor([Sweep()], tasks=tasks, workers=workers, skip_completed=False).run()
    subprocess.run([PROGRAM, "sweep", "merge", DIR, "--whole"], check=True)
