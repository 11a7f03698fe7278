import json
import pathlib
import subprocess
import sys

import pytest

from rca_jax.errors import InputError
from rca_jax.report.gpu_cost import GPUS, Kernel, cost_table, kernels, target

ROOT = pathlib.Path(__file__).parents[1]
# As XLA prints it: a fusion, a loop whose body starts a kernel three times, things that are none.
HLO = """\
HloModule jit_call, is_scheduled=true

%inside (p: f32[4,8]) -> f32[4] {
  %p = f32[4,8]{1,0} parameter(0)
  ROOT %reduce.1 = f32[4]{0} reduce(%p, %p), dimensions={1}, to_apply=%add
}

%body (state: (s32[], bf16[8])) -> (s32[], bf16[8]) {
  %state = (s32[], bf16[8]{0}) parameter(0)
  %x.2 = bf16[8]{0} get-tuple-element(%state), index=1
  ROOT %twice = bf16[8]{0} fusion(%x.2, %x.2), kind=kLoop, calls=%inside, metadata={op_name="jit(call)/while/body/optimizer/add"}
}

ENTRY %main (a: f32[4,8], b: bf16[8]) -> (f32[4], s32[], bf16[8]) {
  %a = f32[4,8]{1,0} parameter(0)
  %b = bf16[8]{0} parameter(1)
  %c = s32[] constant(0)
  %sum = f32[4]{0} fusion(%a), kind=kInput, calls=%inside, metadata={op_name="jit(call)/jvp(RCAMUNet)/encoder/layer_0/attention/reduce_sum"}
  %gemm = (bf16[8]{0}, s8[64]{0}) custom-call(%b, /*index=1*/%sum), custom_call_target="__cublas$gemm", metadata={op_name="jit(call)/transpose(jvp(RCAMUNet))/decoder/layer_0/mlp_in/mlp_in/dot_general"}
  %d = bf16[8]{0} get-tuple-element(%gemm), index=0
  %start = (s32[], bf16[8]{0}) tuple(%c, %d)
  %loop = (s32[], bf16[8]{0}) while(%start), condition=%less, body=%body, backend_config={"known_trip_count":{"n":"3"}}
  ROOT %all = (f32[4]{0}, (s32[], bf16[8]{0})) tuple(%sum, %loop)
}
"""  # noqa: E501


def test_kernels_of_a_program():
  assert kernels(HLO) == [
      Kernel('attention scores, forward', 4 * 32 + 4 * 4),
      Kernel('MLP, backward', 2 * 8 + 4 * 4 + 2 * 8 + 64),
      *[Kernel('optimizer', 2 * 8 + 2 * 8)] * 3]


@pytest.mark.parametrize('path, part', [
    ('jit(call)/while/body/csi/vmap()/min', 'csi'),
    ('jit(call)/transpose(jvp(M))/encoder/layer_1/attention/key/dot_general',
     'projections, backward'),
    ('jit(call)/jvp(M)/encoder/layer_1/attention/dot_general', 'attention scores, forward'),
    ('jit(call)/jvp(M)/decoder/rca_block_0/mlp_norm/rsqrt', 'LayerNorms, forward'),
    ('jit(call)/jvp(M)/decoder/rca_block_0/mlp_out/add', 'MLP, forward'),
    ('jit(call)/jvp(M)/add', 'the rest'), ('', 'the rest')])
def test_parts_of_a_step(path, part):
  hlo = HLO.replace('jit(call)/while/body/optimizer/add', path)
  assert [kernel.part for kernel in kernels(hlo)][2:] == [part] * 3


def test_an_unknown_gpu_is_told():
  assert f'"{GPUS["h200"].name}"' in target('h200')
  with pytest.raises(InputError, match="GPU 'gtx' is unknown; choose of h100, h200"):
    target('gtx')


def test_compiles_for_a_gpu_that_is_not_there(tmp_path):
  """Every kernel is in the table; without attention's backward there is no training."""
  pytest.importorskip('jax_plugins.xla_cuda13', reason='needs the `gpu_compile` extra')
  out = tmp_path / 'rows.json'
  tiny = {
      'csi.num_delay_taps': 4, 'csi.num_tx_antennas': 8, 'model.model_dim': 16,
      'model.num_heads': 2, 'model.mlp_dim': 32, 'model.num_encoder_layers': 1,
      'model.num_decoder_layers': 1, 'model.num_rca_blocks': 1,
      'training.pretrain.optimizer.name': 'adam'}
  process = subprocess.run(
      [sys.executable, '-m', 'launch.compile_gpu', '--config=configs/rca_munet.py:small,cr=1/2',
       *(f'--config.{name}={value}' for name, value in tiny.items()), f'--out={out}'],
      cwd=ROOT, capture_output=True, text=True, check=False)
  assert process.returncode == 0, process.stderr
  (row,) = json.loads(out.read_text())
  assert process.stdout.strip() == cost_table(row)
  assert (row['gpu'], row['groups'], row['dtype']) == ('h100', 64, 'float32')
  assert row['parts'].keys() >= {
      'csi', 'optimizer', 'attention scores, forward', 'attention scores, backward',
      'MLP, forward', 'MLP, backward'}
  assert all(part['kernels'] and part['bytes'] for part in row['parts'].values())
