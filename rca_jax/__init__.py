"""Multi-user CSI feedback with residual cross-attention and DJSCC, in JAX."""

__version__ = '0.1.0'
