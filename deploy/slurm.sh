#!/usr/bin/env bash
# A command of raynas on a cluster that Slurm gives, one node of Ray on each of its machines:
#
#   sbatch --nodes=4 deploy/slurm.sh search as-vit --gpus-per-worker 0.25 --workers 16 --out runs/found --resume
#
# The environment that raynas is installed in must be active, and it and the folders that the command names must lie on
# storage that all machines share. Two minutes before the time is over, the command stores what it has done and the job
# is queued again; with --resume it then goes on, and begins where there is no run.
#
# Change: what a node has, the time, the partition and the account.
#SBATCH --job-name=raynas
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --gpus-per-node=1
#SBATCH --time=24:00:00
#SBATCH --signal=B:TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail

port=6379
hosts=$(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=${hosts%%$'\n'*} # not by a pipe to `head`, which ends it before scontrol may have written all
cpus=${SLURM_CPUS_PER_TASK:-1}
others=$((SLURM_JOB_NUM_NODES - 1))

# Of this job alone: its nodes and its command, and nobody else on the machines.
RAY_AUTH_TOKEN=$(head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n')
export RAY_AUTH_TOKEN RAY_AUTH_MODE=token
# A cut link is noticed in 10 s instead of 65.
export RAY_health_check_period_ms=1000 RAY_health_check_timeout_ms=2000 RAY_health_check_failure_threshold=3

srun --nodes=1 --ntasks=1 --nodelist="$head" --overlap \
    ray start --head --block --port=$port --num-cpus="$cpus" --include-dashboard=false --disable-usage-stats &
head_node=$!
if ((others)); then
    # They wait until the head listens.
    srun --nodes=$others --ntasks=$others --exclude="$head" --overlap \
        bash -c "until (exec 3<>/dev/tcp/$head/$port) 2>/dev/null; do sleep 1; done
            exec ray start --address=$head:$port --block --num-cpus=$cpus --disable-usage-stats" &
fi
trap 'kill $(jobs -p) 2>/dev/null || true' EXIT

until (exec 3<>"/dev/tcp/$head/$port") 2>/dev/null; do
    kill -0 $head_node # it has ended if this fails, and so does the job
    sleep 1
done
srun --nodes=1 --ntasks=1 --nodelist="$head" --overlap raynas "$@" --address "$head:$port" &
command=$!
is_over=false
trap 'is_over=true; kill -TERM "$command"' TERM
status=0
wait "$command" || status=$?
if $is_over; then
    wait "$command" || status=$? # the signal has ended the first wait
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
