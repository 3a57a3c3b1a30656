# shellcheck shell=bash
# AI model workers beside a server: started, begun anew when they crash, ended with the task.
# Reads: HPCORCH_WORKERS HPCORCH_PYTHON HPCORCH_WORKER_CPUS HPCORCH_WORKER_OPTIONS HPCORCH_MODELS
#        HPCORCH_PIN_SERVER HPCORCH_IPS HPCORCH_BOOT_SECONDS

HPCORCH_WORKER_PIDS=()

# hpcorch_worker_settings ADDRESS TYPE: how workers find the database, and where they may run.
hpcorch_worker_settings() {
  local cpu found=()
  HPCORCH_WORKER_ENV=("SSDB=$1" "SR_DB_TYPE=$2" "HPCORCH_CREDENTIALS=")
  if [[ -e $HPCORCH_SECRETS/credentials ]]; then
    HPCORCH_WORKER_ENV[2]=HPCORCH_CREDENTIALS=$HPCORCH_SECRETS/credentials
  fi
  HPCORCH_PIN_WORKERS=(${HPCORCH_PIN_SERVER[@]+"${HPCORCH_PIN_SERVER[@]}"})
  ((${#HPCORCH_WORKER_CPUS[@]})) || return 0
  hpcorch_allowed_cpus
  for cpu in "${HPCORCH_WORKER_CPUS[@]}"; do
    if ((cpu >= ${#HPCORCH_ALLOWED[@]})); then
      hpcorch_fail "the model workers cannot have CPU number $cpu: this task may use" \
        "${#HPCORCH_ALLOWED[@]} CPUs, numbered from 0"
    fi
    found+=("${HPCORCH_ALLOWED[cpu]}")
  done
  hpcorch_join "${found[@]}"
  HPCORCH_PIN_WORKERS=(taskset -c "$REPLY")
}

# hpcorch_inference WORD...: becomes hpcorch's Python program for models.
hpcorch_inference() {
  exec ${HPCORCH_PIN_WORKERS[@]+"${HPCORCH_PIN_WORKERS[@]}"} \
    env "${HPCORCH_WORKER_ENV[@]}" "$HPCORCH_PYTHON" -m hpcorch.inference "$@" 8>&- 9>&-
}

# hpcorch_keep_worker NUMBER HOST SHARD: a worker's life: run it, and run it again when it crashed.
hpcorch_keep_worker() {
  local base=$HPCORCH_NODE_DIR/worker.$1 pid="" ending=0 pause=100 began
  trap 'ending=1; [[ -z $pid ]] || kill -TERM "$pid" 2>/dev/null || true' TERM INT HUP USR1
  while ((!ending)); do
    hpcorch_clock
    began=$REPLY
    (hpcorch_inference serve --name "$HPCORCH_NAME.$HPCORCH_INDEX.$1" --shard "$3" --host "$2" \
      --socket "$base.socket" --ready "$base.ready" --turn "$1" \
      ${HPCORCH_WORKER_OPTIONS[@]+"${HPCORCH_WORKER_OPTIONS[@]}"}) </dev/null &
    pid=$!
    # A signal that came before there was a process to pass it to.
    if ((ending)); then kill -TERM "$pid" 2>/dev/null || true; fi
    hpcorch_await "$pid"
    pid=""
    ((!ending)) || return 0
    if [[ ! -e $base.ready ]]; then
      : >"$base.failed"
      return 0
    fi
    hpcorch_say "model worker $1 ended with exit code $REPLY and is started again"
    # One that crashes at once must not keep the node busy.
    hpcorch_clock
    pause=$((REPLY - began > 1000 ? 100 : pause * 2))
    hpcorch_pause "$((pause < 5000 ? pause : 5000))"
  done
}

# hpcorch_start_workers HOST ADDRESS TYPE: starts all workers and waits until they are ready. HOST
# is where they listen for other nodes, or empty.
hpcorch_start_workers() {
  local number log
  hpcorch_worker_settings "$2" "$3"
  for ((number = 0; number < HPCORCH_WORKERS; number++)); do
    log=$HPCORCH_RUN_DIR/logs/$HPCORCH_NAME.$HPCORCH_INDEX.worker.$number.log
    hpcorch_keep_worker "$number" "$1" "$2" >>"$log" 2>&1 &
    HPCORCH_WORKER_PIDS+=("$!")
  done
  for ((number = 0; number < HPCORCH_WORKERS; number++)); do hpcorch_await_worker "$number"; done
}

# hpcorch_await_worker NUMBER: ends the task, with the worker's last words, if it does not start.
hpcorch_await_worker() {
  local base=$HPCORCH_NODE_DIR/worker.$1 deadline log
  log=$HPCORCH_RUN_DIR/logs/$HPCORCH_NAME.$HPCORCH_INDEX.worker.$1.log
  hpcorch_clock
  deadline=$((REPLY + HPCORCH_BOOT_SECONDS * 100))
  until [[ -e $base.ready ]]; do
    if [[ -e $base.failed ]]; then
      hpcorch_fail "model worker $1 does not start: $(tail -n 1 -- "$log")"
    fi
    hpcorch_clock
    ((REPLY < deadline)) ||
      hpcorch_fail "model worker $1 was not ready within $HPCORCH_BOOT_SECONDS s"
    hpcorch_pause 50
  done
}

# hpcorch_load_models: loads the models of the job's list, if it has one, into all workers.
hpcorch_load_models() {
  local log=$HPCORCH_RUN_DIR/logs/$HPCORCH_NAME.$HPCORCH_INDEX.models.log
  [[ -n $HPCORCH_MODELS ]] || return 0
  (hpcorch_inference load "$HPCORCH_MODELS") </dev/null >"$log" 2>&1 &
  hpcorch_await "$!"
  if ((REPLY != 0)); then
    hpcorch_fail "the models could not be loaded: $(tail -n 1 -- "$log")"
  fi
}

# hpcorch_load_elsewhere: loads the models into the one database that the program is told of.
hpcorch_load_elsewhere() {
  local word
  HPCORCH_PIN_WORKERS=() HPCORCH_WORKER_ENV=()
  for word in ${HPCORCH_PROGRAM_ENV[@]+"${HPCORCH_PROGRAM_ENV[@]}"}; do
    if [[ $word =~ ^(SSDB|SR_DB_TYPE|HPCORCH_CREDENTIALS)[^=]*=(.*) ]]; then
      HPCORCH_WORKER_ENV+=("${BASH_REMATCH[1]}=${BASH_REMATCH[2]}")
    fi
  done
  hpcorch_load_models
}

# hpcorch_end_workers: ends them; harmless when there are none.
hpcorch_end_workers() {
  local pid
  for pid in ${HPCORCH_WORKER_PIDS[@]+"${HPCORCH_WORKER_PIDS[@]}"}; do
    kill -TERM "$pid" 2>/dev/null || true
  done
  for pid in ${HPCORCH_WORKER_PIDS[@]+"${HPCORCH_WORKER_PIDS[@]}"}; do hpcorch_await "$pid"; done
  HPCORCH_WORKER_PIDS=()
}
