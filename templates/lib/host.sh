# shellcheck shell=bash
# The shards of one host, all in one element of a job array: this process starts and outlives them.
# Reads: HPCORCH_INDEX HPCORCH_ELEMENTS HPCORCH_PER_ELEMENT HPCORCH_JOB

# hpcorch_host_signal NAME: passes a signal on; shards that have not been started stay so.
hpcorch_host_signal() {
  HPCORCH_HOST_ENDS=1
  kill -s "$1" "${HPCORCH_HOST_PIDS[@]}" 2>/dev/null || true
}

# hpcorch_host_reap: sees to the shards that have ended; the highest exit code in HPCORCH_HOST_CODE.
hpcorch_host_reap() {
  local index code
  for index in "${!HPCORCH_HOST_PIDS[@]}"; do
    if kill -0 "${HPCORCH_HOST_PIDS[index]}" 2>/dev/null; then continue; fi
    code=0
    wait "${HPCORCH_HOST_PIDS[index]}" || code=$?
    if ((code < 0)); then code=143; fi
    unset "HPCORCH_HOST_PIDS[$index]"
    hpcorch_record "$index" "$HPCORCH_JOB" "$code" "the shard died without a record, exit code $code"
    if ((code > HPCORCH_HOST_CODE)); then HPCORCH_HOST_CODE=$code; fi
  done
}

# hpcorch_host SCRIPT: runs this element's shards; ends with the highest of their exit codes.
hpcorch_host() {
  local index=$((HPCORCH_INDEX * HPCORCH_PER_ELEMENT)) idle
  local end=$((index + HPCORCH_PER_ELEMENT))
  HPCORCH_HOST_PIDS=() HPCORCH_HOST_CODE=0 HPCORCH_HOST_ENDS=0
  exec {idle}<> <(:)
  trap 'hpcorch_host_signal TERM' TERM INT HUP
  trap 'hpcorch_host_signal USR1' USR1
  for (( ; index < end && index < HPCORCH_ELEMENTS && !HPCORCH_HOST_ENDS; index++)); do
    bash "$1" --shard "$index" </dev/null {idle}>&- &
    HPCORCH_HOST_PIDS[index]=$!
  done
  while ((${#HPCORCH_HOST_PIDS[@]})); do
    # A shard that was killed must be told of while the others serve on.
    read -r -t 0.5 -u "$idle" || true
    hpcorch_host_reap
  done
  exit "$HPCORCH_HOST_CODE"
}
