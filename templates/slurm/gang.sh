# shellcheck shell=bash
# A gang: one job of several nodes, whose script starts itself once on each of them.
# Reads: HPCORCH_RUN_DIR HPCORCH_ELEMENTS HPCORCH_HOST_COUNT HPCORCH_TASKS_PER_HOST HPCORCH_RUN_ARGS

# hpcorch_gang SCRIPT: runs all tasks as one step; ends with the highest of their exit codes.
hpcorch_gang() {
  local copy=$HPCORCH_RUN_DIR/.gang.$SLURM_JOB_ID code=0 step
  # Slurm keeps a batch script on the job's first node only; the other nodes read this copy.
  (umask 077 && mkdir -p -- "$HPCORCH_RUN_DIR" && cp -- "$1" "$copy")
  # Tasks that share a node share its CPUs out among themselves.
  srun --nodes="$HPCORCH_HOST_COUNT" --ntasks="$HPCORCH_ELEMENTS" \
    --ntasks-per-node="$HPCORCH_TASKS_PER_HOST" --cpu-bind=none \
    --kill-on-bad-exit=0 ${HPCORCH_RUN_ARGS[@]+"${HPCORCH_RUN_ARGS[@]}"} \
    bash "$copy" --element &
  step=$!
  # Slurm signals the tasks itself; this shell only has to outlive them.
  trap ':' TERM INT HUP
  trap 'scancel --signal=USR1 "$SLURM_JOB_ID"' USR1
  wait "$step" || true
  while kill -0 "$step" 2>/dev/null; do wait "$step" || true; done
  wait "$step" || code=$?
  rm -f -- "$copy"
  exit "$code"
}
