"""The commands: `rca NAME` is `python -m launch.NAME`."""

import os

# Both are read when JAX and scipy are first imported, so here, before any command does.
# A site map's matrices are small: threads of BLAS only wait for each other, several times longer.
os.environ.setdefault('OPENBLAS_NUM_THREADS', '1')
# Threads of XLA on CPUs. Parts of a program wait for each other in them: with the two of a small
# machine a training waited for itself forever.
os.environ.setdefault('NPROC', str(max(16, os.cpu_count() or 1)))
