# shellcheck shell=bash
# The end of what srun has started. Reads: SLURM_JOB_ID

# hpcorch_end_srun PID: Slurm sends SIGTERM to the processes of that srun's step. To srun itself the
# signal means to kill them at once, which is right for one that has no step yet.
hpcorch_end_srun() {
  local line node step=""
  node=$(uname -n)
  while read -r line; do
    if [[ $line == *" SrunHost:Pid=$node:$1" ]]; then
      step=${line#StepId=}
      step=${step%% *}
    fi
  done < <(timeout 10 scontrol --oneliner show steps "$SLURM_JOB_ID" 2>/dev/null)
  if [[ -n $step ]]; then
    # It fails, having done it, where the job has nodes that the step has not.
    timeout 10 scancel --signal=TERM "$step" 2>/dev/null || true
  else
    kill -TERM "$1" 2>/dev/null || true
  fi
}
