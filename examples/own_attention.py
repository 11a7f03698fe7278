# %% [markdown]
"""An attention of one's own beside the paper's: half of the residual cut.

  python examples/own_attention.py

Trains both for some minutes and compares them on the same test groups; own_attention/report.html
has it all. STEPS=20 in the environment makes it shorter. As a module it serves every command (rca
looks in the folder where it runs):
  rca train --import=own_attention --config=rca_munet:small,attention=half_cut --workdir=half
  rca evaluate --import=own_attention --workdir=half
"""

# %%
import os
from pathlib import Path

from rca_jax.models.attention import ATTENTION, Variant, dot_product, mean_of_other_ues


def half_cut(query, key, value, inputs_q):
  """Every argument and the result: [..., antenna, head, width]."""
  return 0.5 * inputs_q - dot_product(query, key, value, inputs_q)


# Where queries come from (own_embedding: the UE itself), and what attention does with them.
ATTENTION['half_cut'] = Variant(mean_of_other_ues, half_cut)


# %%
def main() -> None:
  from rca_jax import config as c
  from rca_jax.evaluation.results import append_rows
  from rca_jax.evaluation.run import evaluate_run
  from rca_jax.report.runs import lines, nmse_table, read_runs, write_runs
  from rca_jax.training.loop import fit

  folder, num_steps = Path('own_attention'), int(os.environ.get('STEPS', 400))
  workdirs = [folder / name for name in ('residual_cross', 'half_cut')]
  for workdir in workdirs:
    optimizer = c.OptimizerConfig(
        name='muon', schedule='cosine', learning_rate=2e-2, warmup_steps=20)
    fit(c.ExperimentConfig(
        method=workdir.name, num_ues=4,
        csi=c.CsiConfig(
            scenario='uma_los', num_delay_taps=16, num_tx_antennas=16, cell_size_m=60.0,
            min_bs_distance_m=10.0, max_ue_distance_m=1.0),
        data=c.DataConfig(num_test_groups=1000),
        model=c.ModelConfig(
            attention=workdir.name, compression_ratio='1/16', model_dim=64, num_heads=4,
            mlp_dim=256, num_encoder_layers=1, num_decoder_layers=1, num_rca_blocks=1,
            shortcut=True),
        training=c.TrainingConfig(
            batch_size=32, pretrain=c.StageConfig(num_steps=num_steps, optimizer=optimizer),
            steps_per_call=20, checkpoint_every_steps=100)), workdir)
    append_rows(workdir / 'results.json', [*evaluate_run(workdir, [0.0, 10.0, 20.0])])
  runs = read_runs(workdirs)
  write_runs(folder, runs)
  print(nmse_table(lines(runs)).markdown())


if __name__ == '__main__':
  main()
