"""Multi-user CSI feedback with residual cross-attention and DJSCC, in JAX."""

__version__ = '0.1.0'


def __getattr__(name: str):
  """`load_pretrained` at its first use, so that `rca_jax.config` stays free of JAX."""
  if name == 'load_pretrained':
    from rca_jax.training.pretrained import load_pretrained
    return load_pretrained
  raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
