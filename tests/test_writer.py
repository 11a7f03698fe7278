import json

import pytest

from rca_jax.errors import InputError
from rca_jax.training.writer import MetricsWriter, read_metrics


def write(workdir, stage, start, steps):
  writer = MetricsWriter(workdir, stage, start)
  for step in steps:
    writer.write(step, {'loss': step / 3})
  writer.close()


def test_lines_past_the_restored_step_are_dropped(tmp_path):
  write(tmp_path, 'pretrain', 0, [2, 4])
  write(tmp_path, 'finetune_10db', 0, [2, 4])
  whole = (tmp_path / 'metrics.jsonl').read_text()
  with (tmp_path / 'metrics.jsonl').open('a') as file:
    file.write('{"stage": "finetune_10db", "st')  # what a kill leaves
  assert len(read_metrics(tmp_path)) == 4
  write(tmp_path, 'finetune_10db', 2, [4])
  assert (tmp_path / 'metrics.jsonl').read_text() == whole


def test_a_stage_that_goes_back_leaves_the_later_ones_behind_it(tmp_path):
  write(tmp_path, 'pretrain', 0, [2, 4, 6])
  write(tmp_path, 'finetune_10db', 0, [2, 4])
  write(tmp_path, 'finetune_2.5db', 0, [2])
  whole = (tmp_path / 'metrics.jsonl').read_text()
  for stage, start, steps in (
      ('pretrain', 4, [6]), ('pretrain', 0, [2, 4, 6]), ('finetune_10db', 2, [4])):
    write(tmp_path, stage, start, steps)
    assert (tmp_path / 'metrics.jsonl').read_text() == whole
  MetricsWriter(tmp_path, 'pretrain', 2).write(4, {'loss': 4 / 3})  # a kill before the flush
  write(tmp_path, 'pretrain', 2, [4, 6])
  assert (tmp_path / 'metrics.jsonl').read_text() == whole


@pytest.mark.parametrize('line', [
    '3', '{}', '{"stage": "pretrain"}', '{"stage": [], "step": 2}',
    '{"stage": "pretrain", "step": 2.5}', '{"stage": "pretrain", "step": 2, "loss": "1"}',
    '[' * 10**5])
def test_a_damaged_line_is_told(tmp_path, line):
  (tmp_path / 'metrics.jsonl').write_text(line + '\n')
  with pytest.raises(InputError, match='metrics.jsonl: holds a damaged line') as error:
    MetricsWriter(tmp_path, 'pretrain', 0)
  assert '\n' not in str(error.value)


def test_starting_over_drops_all_lines_of_the_stage(tmp_path):
  write(tmp_path, 'pretrain', 0, [2, 4])
  write(tmp_path, 'pretrain', 0, [2])
  assert [line['step'] for line in read_metrics(tmp_path)] == [2]


def test_a_line_is_plain_json_and_events_lie_beside(tmp_path):
  write(tmp_path, 'pretrain', 0, [2])
  assert json.loads((tmp_path / 'metrics.jsonl').read_text()) == {
      'stage': 'pretrain', 'step': 2, 'loss': 2 / 3}
  assert list((tmp_path / 'tensorboard' / 'pretrain').iterdir())
