# shellcheck shell=bash
# Tasks as one step of an allocation that is there already: this process starts and outlives them.
# Reads: HPCORCH_RUN_DIR HPCORCH_KIND HPCORCH_NAME HPCORCH_ELEMENTS HPCORCH_HOST_COUNT
#        HPCORCH_TASKS_PER_HOST HPCORCH_RUN_ARGS SLURM_JOB_ID

# hpcorch_step SCRIPT TOKEN: runs all tasks, ends with the step's exit code.
hpcorch_step() {
  local step index code=0 bind=()
  (umask 077 && mkdir -p -- "$HPCORCH_RUN_DIR/exit")
  # The servers on a node share its CPUs out among themselves; a program is bound as Slurm does it.
  if [[ $HPCORCH_KIND == database ]]; then bind=(--cpu-bind=none); fi
  # Other steps may use the same nodes: tasks of a database leave most of them idle.
  srun --jobid="$SLURM_JOB_ID" --job-name="$HPCORCH_NAME" --overlap --mem=0 \
    --nodes="$HPCORCH_HOST_COUNT" --ntasks="$HPCORCH_ELEMENTS" \
    --ntasks-per-node="$HPCORCH_TASKS_PER_HOST" ${bind[@]+"${bind[@]}"} \
    --kill-on-bad-exit=0 ${HPCORCH_RUN_ARGS[@]+"${HPCORCH_RUN_ARGS[@]}"} \
    bash "$1" --step-task "$$" "$2" </dev/null &
  step=$!
  trap 'hpcorch_end_srun "$step"' TERM INT HUP
  printf '%s: job %s runs %d task(s) as a step of job %s, logs are in %s\n' \
    "$HPCORCH_NAME" "$$" "$HPCORCH_ELEMENTS" "$SLURM_JOB_ID" "$HPCORCH_RUN_DIR/logs"
  wait "$step" || true
  while kill -0 "$step" 2>/dev/null; do wait "$step" || true; done
  wait "$step" || code=$?
  for ((index = 0; index < HPCORCH_ELEMENTS; index++)); do
    hpcorch_record "$index" "$$" "$((code ? code : 1))" \
      "the task died without a record; the step ended with code $code"
  done
  exit "$code"
}
