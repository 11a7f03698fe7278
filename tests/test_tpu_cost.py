import json
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from launch.table import format_table
from rca_jax.errors import InputError
from rca_jax.report.hlo import collective_bytes
from rca_jax.report.tpu_cost import CHIPS, cost_table, parse_topology
from rca_jax.training.sharding import data_mesh

ROOT = pathlib.Path(__file__).parents[1]
TINY = [
    f'--config.{name}={value}' for name, value in {
        'csi.num_delay_taps': 4, 'csi.num_tx_antennas': 8, 'model.model_dim': 16,
        'model.num_heads': 2, 'model.mlp_dim': 32, 'model.num_encoder_layers': 1,
        'model.num_decoder_layers': 1, 'model.num_rca_blocks': 1}.items()]


def test_collectives_of_a_sum_over_devices():
  mesh = data_mesh()
  divided = NamedSharding(mesh, PartitionSpec('data'))
  whole = NamedSharding(mesh, PartitionSpec())
  x = jax.ShapeDtypeStruct((64, 24), jnp.float32, sharding=divided)
  summed = jax.jit(lambda x: x.sum(0), out_shardings=whole).lower(x).compile()
  assert collective_bytes(summed.as_text()) == {'all-reduce': 24 * 4}
  gathered = jax.jit(lambda x: 2 * x, out_shardings=whole).lower(x).compile()
  assert collective_bytes(gathered.as_text()) == {'all-gather': 64 * 24 * 4}
  local = jax.jit(lambda x: 2 * x, out_shardings=divided).lower(x).compile()
  assert collective_bytes(local.as_text()) == {}


def test_collectives_with_a_tpus_layouts_and_tuples():
  line = (
      '  %a = (f32[192]{0:T(256)S(1)}, /*index=5*/bf16[64,192]{1,0:T(8,128)(2,1)}, f32[]) '
      'all-reduce-start(%x, %y), channel_id=1')
  assert collective_bytes(f'{line}\n  %b = f32[9]{{0}} all-reduce-done(%a)') == {
      'all-reduce': 4 * 192 + 2 * 64 * 192 + 4}


def test_topology_names():
  assert parse_topology('v5p:4x4x4') == (CHIPS['v5p'], (4, 4, 4))
  for wrong in ('v5e', 'v9:2x2', 'v5e:2,2', 'v5e:x'):
    with pytest.raises(InputError, match='topology .* is unknown; expected CHIP:AxB'):
      parse_topology(wrong)


def test_compiles_for_slices_that_are_not_there(tmp_path):
  """Operations are divided among the chips; what they exchange is the gradient, once."""
  pytest.importorskip('libtpu', reason='needs the `tpu` extra')
  out = tmp_path / 'rows.json'
  process = subprocess.run(
      [sys.executable, '-m', 'launch.compile_tpu', '--config=configs/rca_munet.py:small,cr=1/2',
       *TINY, '--config.training.pretrain.optimizer.name=adam', '--config.training.batch_size=512',
       '--topology=v5e:2x2,v5e:4x4', f'--out={out}'],
      cwd=ROOT, capture_output=True, text=True, check=False)
  assert process.returncode == 0, process.stderr
  few, many = rows = json.loads(out.read_text())
  assert process.stdout == format_table(*cost_table(rows), 'text')
  assert (few['chips'], many['chips'], few['groups'], many['groups']) == (4, 16, 512, 512)
  assert few['flops'] / many['flops'] == pytest.approx(4, rel=0.1)
  for row in rows:
    assert set(row['collective_bytes']) == {'all-reduce'}
  assert few['collective_bytes'] == many['collective_bytes']
