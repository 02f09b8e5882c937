#!/bin/bash
#SBATCH --job-name=tinyjax
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=4
#SBATCH --time=24:00:00
#SBATCH --chdir=/repository
#SBATCH --output=%x-%j.log
#SBATCH --open-mode=append
#SBATCH --signal=B:TERM@120
#SBATCH --requeue
# Made by launch/cluster, for sbatch; submitted again, the run goes on where it was.

cpus=4
variables=()
program=(
  apptainer
  exec
  --nv
  --pwd
  /app
  '/shared/tiny jax.sif'
  python
  -m
  tinyjax.bin.evaluate
  --out=/shared/e
)

say() { printf 'job %s: %s\n' "$SLURM_JOB_ID" "$*" >&2; }

for name in "${variables[@]}"; do
  [[ -n ${!name+set} ]] || { say "$name is not set; export it, then call sbatch again"; exit 2; }
done

stops=0
trap 'stops=$((stops + 1)); scancel --signal=TERM "$SLURM_JOB_ID"' TERM
srun --kill-on-bad-exit=0 --wait=0 --label --cpus-per-task="$cpus" "${program[@]}" &
step=$!

code=
until [[ -n $code ]]; do
  before=$stops
  wait "$step"
  code=$?
  ((stops == before)) || code='' # the signal has ended the waiting alone
done
# One that is stopped while it starts may take others with it, which then say 43.
((stops == 0 || code != 43)) || code=42

case $code in
  0) say 'done' ;;
  42)
    trap '' TERM
    say 'stopped with everything saved; it goes on when SLURM starts it again'
    scontrol requeue "$SLURM_JOB_ID" || say 'it can not be requeued; submit it again'
    ;;
  2) say 'it ended with code 2: see the error above, mend it, and submit again' ;;
  *) say "it ended with code $code, see above; submitted again, it goes on from its newest checkpoint" ;;
esac
exit "$code"
