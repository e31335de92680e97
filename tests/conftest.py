"""What holds for every test.

On a shared machine an example may take any time, so Hypothesis sets none of them a deadline. PyTorch computes with one thread:
the models here are small, and two threads of each of two processes wait for each other on two cores.
"""

import os

from hypothesis import settings

os.environ.setdefault("OMP_NUM_THREADS", "1")
settings.register_profile("shared machine", deadline=None)
settings.load_profile("shared machine")
