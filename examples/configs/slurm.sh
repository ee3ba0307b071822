#!/bin/bash
# Several nodes under SLURM: one torchrun a node, which starts one process a GPU.
#   sbatch examples/configs/slurm.sh examples/distill_accelerate.py --teacher outputs/teacher --dataset windows
#SBATCH --job-name=dlink
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=16
#SBATCH --time=04:00:00
# a node that fails, or a job of more importance, puts this one back into the queue
#SBATCH --requeue
#SBATCH --open-mode=append

set -euo pipefail
GPUS="${SLURM_GPUS_ON_NODE:-1}"
# the nodes meet at the first one; the port differs from job to job
HEAD="$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)"
PORT=$((20000 + SLURM_JOB_ID % 10000))
export OMP_NUM_THREADS="$((${SLURM_CPUS_PER_TASK:-1} / GPUS > 0 ? ${SLURM_CPUS_PER_TASK:-1} / GPUS : 1))"

# what was started before goes on from its newest checkpoint
srun --kill-on-bad-exit=1 torchrun \
  --nnodes "$SLURM_NNODES" --nproc_per_node "$GPUS" \
  --rdzv_id "$SLURM_JOB_ID" --rdzv_backend c10d --rdzv_endpoint "$HEAD:$PORT" \
  "$@" --checkpointing_steps epoch --resume_from_checkpoint latest
