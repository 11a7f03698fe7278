import dataclasses
import json

import pytest

from rca_jax.errors import InputError
from rca_jax.training.workdir import claim
from rca_jax.training.writer import MetricsWriter, read_metrics


def write(workdir, stage, start, steps):
  writer = MetricsWriter(workdir, stage, start)
  for step in steps:
    writer.write(step, {'loss': step / 3})
  writer.close()


def text(workdir):
  return (workdir / 'metrics' / 'pretrain.jsonl').read_text()


def test_lines_after_the_restored_step_are_dropped(tmp_path):
  write(tmp_path, 'pretrain', 0, [2, 4])
  whole = text(tmp_path)
  with (tmp_path / 'metrics' / 'pretrain.jsonl').open('a') as file:
    file.write('{"stage": "pretrain", "st')  # what a kill leaves
  write(tmp_path, 'pretrain', 2, [4])
  assert text(tmp_path) == whole
  write(tmp_path, 'pretrain', 0, [2])
  assert text(tmp_path) == whole.splitlines(keepends=True)[0]


def test_lines_come_stage_by_stage_in_the_order_of_the_config(tmp_path, tiny_config):
  config = dataclasses.replace(
      tiny_config, training=dataclasses.replace(
          tiny_config.training, finetune_snr_db=(10.0, 2.5)))
  claim(tmp_path, config)
  assert read_metrics(tmp_path) == []
  for stage in ('finetune_2.5db', 'finetune_10db', 'pretrain'):
    write(tmp_path, stage, 0, [2, 4])
  with (tmp_path / 'metrics' / 'finetune_10db.jsonl').open('a') as file:
    file.write('{"stage": "finetune_10db", "st')
  assert [(line['stage'], line['step']) for line in read_metrics(tmp_path)] == [
      (stage, step) for stage in ('pretrain', 'finetune_10db', 'finetune_2.5db')
      for step in (2, 4)]


@pytest.mark.parametrize('line', [
    '3', '{}', '{"stage": "pretrain"}', '{"stage": [], "step": 2}',
    '{"stage": "pretrain", "step": 2.5}', '{"stage": "pretrain", "step": 2, "loss": "1"}',
    '[' * 10**5])
def test_a_damaged_line_is_refused(tmp_path, line):
  path = tmp_path / 'metrics' / 'pretrain.jsonl'
  path.parent.mkdir()
  path.write_text(line + '\n')
  with pytest.raises(InputError, match='pretrain.jsonl: holds a damaged line') as error:
    MetricsWriter(tmp_path, 'pretrain', 0)
  assert '\n' not in str(error.value)


def test_a_line_is_plain_json_and_events_lie_beside(tmp_path):
  write(tmp_path, 'pretrain', 0, [2])
  assert json.loads(text(tmp_path)) == {'stage': 'pretrain', 'step': 2, 'loss': 2 / 3}
  assert list((tmp_path / 'tensorboard' / 'pretrain').iterdir())
