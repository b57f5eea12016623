#!/usr/bin/env python3
"""Print the GPUs that a command started here may use, separated by commas; an empty line where there are none.

They are those of CUDA_VISIBLE_DEVICES where that is set, else those that `nvidia-smi -L` names.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))  # also where PYTHONSAFEPATH is set

from jobs.gpus import visible

if __name__ == "__main__":
    if sys.argv[1:]:
        print(__doc__, end="")
        sys.exit(0 if sys.argv[1:] in (["--help"], ["-h"]) else 2)
    print(",".join(visible()))
