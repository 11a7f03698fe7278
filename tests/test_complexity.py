import jax
import numpy as np

from rca_jax.evaluation.complexity import count_parameters


def test_count_is_of_scalars_in_arrays_or_shapes():
  params = {'a': {'kernel': np.zeros((3, 4)), 'bias': np.zeros(4)}, 'scale': np.zeros(())}
  assert count_parameters(params) == 17
  assert count_parameters(jax.eval_shape(lambda: params)) == 17
