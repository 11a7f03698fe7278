"""Where CSI comes from: a site, its paths, and groups of nearby UEs."""

from rca_jax.channel.groups import (
    CsiGroups,
    csi_at,
    groups_at,
    sample_groups,
    sample_pairs,
    sample_positions,
)
from rca_jax.channel.response import from_features, normalise, to_features
from rca_jax.channel.site import Paths, Site, at_another_time, paths, sample_site
from rca_jax.config import CsiConfig

__all__ = [
    'CsiConfig', 'CsiGroups', 'Paths', 'Site', 'at_another_time', 'csi_at', 'from_features',
    'groups_at', 'normalise', 'paths', 'sample_groups', 'sample_pairs', 'sample_positions',
    'sample_site', 'to_features',
]
