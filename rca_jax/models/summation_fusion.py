"""BL3: fusion branches between the decoders of nearby UEs, whose outputs are summed [10]."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from rca_jax.errors import InputError
from rca_jax.models.transformer import FlatDense


class SummationFusion(nn.Module):
  """Adds to every UE what a branch makes of each other UE: FFN d -> mlp_dim -> d, then LayerNorm.

  Eq. (9) with another UE's embedding in the FFN; M (M - 1) branches run for M UEs. Deviation: the
  paper gives no branch; these are the sizes that meet its Table II, where 2 UEs share the weights
  of one branch. So branch i goes from UE m + i (counted round the group) to UE m: M - 1 sets
  of weights, and a network that serves only the number of UEs it was built for.
  """

  num_ues: int
  mlp_dim: int
  dtype: str = 'float32'

  @nn.compact
  def __call__(self, embeddings: jax.Array, active: jax.Array | None = None) -> jax.Array:
    """Embeddings [..., ue, N_t, d] to the same shape; only `active` [..., ue] UEs reach others.

    Raises:
      InputError: there are more or fewer UEs than branches were built for.
    """
    if embeddings.shape[-3] != self.num_ues:
      raise InputError(
          f'num_ues={embeddings.shape[-3]}: the branches of this summation-fusion network (BL3) '
          f'were built for {self.num_ues} UEs; train one for each number of UEs.')
    fused = embeddings
    for i in range(1, self.num_ues):
      others = jnp.roll(embeddings, -i, axis=-3)
      hidden = nn.relu(FlatDense(self.mlp_dim, dtype=self.dtype, name=f'branch_{i}_in')(others))
      branch = FlatDense(embeddings.shape[-1], dtype=self.dtype, name=f'branch_{i}_out')(hidden)
      if active is not None:
        branch = jnp.where(jnp.roll(active, -i, axis=-1)[..., None, None], branch, 0)
      fused = nn.LayerNorm(dtype=self.dtype, name=f'branch_{i}_norm')(fused + branch)
    return fused
