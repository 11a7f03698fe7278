#!/usr/bin/env bash
# Trains on all hosts of a Cloud TPU slice. `train` again continues a run that was stopped.
#
#   export TPU=my-slice ZONE=us-east5-a PYTHON=python3.12
#   launch/tpu_pod.sh setup
#   launch/tpu_pod.sh train --config=configs/rca_munet.py:cr=1/16 --workdir=/mnt/runs/cr16
#
# WORKDIR must be one folder that every host sees and in which folders can be renamed: Filestore, or
# a bucket with hierarchical namespace mounted by gcsfuse. PYTHON is what the hosts have from 3.11 on.
set -euo pipefail

: "${TPU:?name of the TPU VM; export TPU=...}" "${ZONE:?its zone; export ZONE=...}"
cd "$(dirname "$0")/.."

on_all_hosts() {
  gcloud compute tpus tpu-vm ssh "$TPU" --zone="$ZONE" --worker=all --command="$1"
}

case "${1:-}" in
  setup)
    git archive --format=tar.gz --output=rca_jax.tar.gz HEAD
    gcloud compute tpus tpu-vm scp rca_jax.tar.gz "$TPU": --zone="$ZONE" --worker=all
    rm rca_jax.tar.gz
    on_all_hosts "mkdir -p rca_jax && tar -xzf rca_jax.tar.gz -C rca_jax && cd rca_jax \
      && ${PYTHON:-python3} -m venv .venv \
      && .venv/bin/python -m pip install --quiet --constraint constraints.txt '.[tpu]'"
    ;;
  train)
    shift
    # %q: what this shell took apart reaches the hosts' shells whole.
    on_all_hosts "cd rca_jax && .venv/bin/python -m launch.train --multihost $(printf '%q ' "$@")"
    ;;
  *)
    echo "usage: TPU=NAME ZONE=ZONE $0 setup | train FLAGS" >&2
    exit 2
    ;;
esac
