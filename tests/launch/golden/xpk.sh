xpk workload create \
  --cluster=c \
  --zone=us-central1-a \
  --workload=w \
  --tpu-type=v5litepod-16 \
  --num-slices=2 \
  --docker-image=example.com/tinyjax:tpu \
  --max-restarts=10 \
  --restart-on-exit-codes=43 \
  --termination-grace-period-seconds=120 \
  '--command=exec python -m tinyjax.bin.train --config=configs/paper.py:33M '"'"'--config.train.sample_prompts=One "day"|Lily'"'"'"'"'"'"'"'"'s $HOME \ `cat` *'"'"' --run_dir=/shared/a' \
  --env-file=<(printf '%s\n' WANDB_API_KEY)
# How it goes, what it says, and its end:
#   xpk workload list --cluster=c --zone=us-central1-a
#   kubectl logs --follow --prefix --max-log-requests=100 --selector=xpk.google.com/workload=w
#   xpk workload delete --cluster=c --zone=us-central1-a --workload=w
