"""Settings that all tests share."""

import os

# A few threads suffice for small tensors. Set before torch is imported; processes
# that a test starts inherit it.
for name in ('OMP_NUM_THREADS', 'MKL_NUM_THREADS', 'OPENBLAS_NUM_THREADS'):
    os.environ.setdefault(name, '2')
os.environ.setdefault('MPLBACKEND', 'Agg')
