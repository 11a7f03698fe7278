import json

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


def test_starting_over_drops_all_lines_of_the_stage(tmp_path):
  write(tmp_path, 'pretrain', 0, [2, 4])
  write(tmp_path, 'pretrain', 0, [2])
  assert [line['step'] for line in read_metrics(tmp_path)] == [2]


def test_a_line_is_plain_json_and_events_lie_beside(tmp_path):
  write(tmp_path, 'pretrain', 0, [2])
  assert json.loads((tmp_path / 'metrics.jsonl').read_text()) == {
      'stage': 'pretrain', 'step': 2, 'loss': 2 / 3}
  assert list((tmp_path / 'tensorboard' / 'pretrain').iterdir())
