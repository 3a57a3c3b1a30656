# shellcheck shell=bash
# AI model workers beside a server: started, begun anew when they crash, ended with the server.
# Reads: HPCORCH_WORKERS HPCORCH_PYTHON HPCORCH_WORKER_CPUS HPCORCH_WORKER_OPTIONS HPCORCH_MODELS
#        HPCORCH_PIN_SERVER HPCORCH_IPS HPCORCH_BOOT_SECONDS HPCORCH_NODE_DIR HPCORCH_LOG_TAG

HPCORCH_WORKER_PIDS=() HPCORCH_WORKER_BASES=()

# hpcorch_worker_settings ADDRESS TYPE CPU...: how workers find the database, and where they may run;
# CPU... are all that they may choose from, none: those of this task.
hpcorch_worker_settings() {
  local cpu allowed=("${@:3}") found=()
  HPCORCH_WORKER_ENV=("SSDB=$1" "SR_DB_TYPE=$2" "HPCORCH_CREDENTIALS=")
  if [[ -e $HPCORCH_SECRETS/credentials ]]; then
    HPCORCH_WORKER_ENV[2]=HPCORCH_CREDENTIALS=$HPCORCH_SECRETS/credentials
  fi
  # What AI.* commands ask for is handed out to administrators only.
  if [[ -e $HPCORCH_SECRETS/admin-credentials ]]; then
    HPCORCH_WORKER_ENV+=("HPCORCH_WORKER_CREDENTIALS=$HPCORCH_SECRETS/admin-credentials")
  fi
  HPCORCH_PIN_WORKERS=(${HPCORCH_PIN_SERVER[@]+"${HPCORCH_PIN_SERVER[@]}"})
  ((${#HPCORCH_WORKER_CPUS[@]})) || return 0
  if ((${#allowed[@]} == 0)); then
    hpcorch_cpus_of self
    allowed=("${HPCORCH_NUMBERS[@]}")
  fi
  for cpu in "${HPCORCH_WORKER_CPUS[@]}"; do
    if ((cpu >= ${#allowed[@]})); then
      hpcorch_fail "the model workers cannot have CPU number $cpu: this task may use" \
        "${#allowed[@]} CPUs, numbered from 0"
    fi
    found+=("${allowed[cpu]}")
  done
  hpcorch_join "${found[@]}"
  HPCORCH_PIN_WORKERS=(taskset -c "$REPLY")
}

# hpcorch_inference WORD...: becomes hpcorch's Python program for models. Files of the directory where it
# runs, such as a queue.py of the user's, must not take the place of its modules.
hpcorch_inference() {
  hpcorch_shield "$HPCORCH_PYTHON"
  exec ${HPCORCH_PIN_WORKERS[@]+"${HPCORCH_PIN_WORKERS[@]}"} env PYTHONSAFEPATH=1 "${HPCORCH_WORKER_ENV[@]}" \
    ${HPCORCH_SHIELD[@]+"${HPCORCH_SHIELD[@]}"} "$HPCORCH_PYTHON" -m hpcorch.inference "$@" \
    {HPCORCH_OUTER}>&- {HPCORCH_IDLE}>&-
}

# hpcorch_worker_log NUMBER: the path of that worker's log, in REPLY.
hpcorch_worker_log() {
  REPLY=$HPCORCH_RUN_DIR/logs/$HPCORCH_NAME.$HPCORCH_INDEX${HPCORCH_LOG_TAG-}.worker.$1.log
}

# hpcorch_serve NUMBER HOST SHARD: becomes a worker, unless the workers are being ended.
hpcorch_serve() {
  local base=$HPCORCH_NODE_DIR/worker.$1
  # Who ends workers makes the mark first and reads the number then: one of both sees the other.
  printf '%d\n' "$BASHPID" >"$base.pid"
  [[ ! -e $base.ending ]] || exit 0
  hpcorch_inference serve --name "$HPCORCH_NAME.$HPCORCH_INDEX${HPCORCH_LOG_TAG-}.$1" \
    --shard "$3" --host "$2" --socket "$base.socket" --ready "$base.ready" --turn "$1" \
    ${HPCORCH_WORKER_OPTIONS[@]+"${HPCORCH_WORKER_OPTIONS[@]}"}
}

# hpcorch_keep_worker NUMBER HOST SHARD: a worker's life: run it, and run it again when it crashed.
hpcorch_keep_worker() {
  local base=$HPCORCH_NODE_DIR/worker.$1 pause=100 began
  # Batch systems signal every process of a job: workers serve as long as their server does.
  trap '' TERM INT HUP USR1 USR2
  while :; do
    hpcorch_clock
    began=$REPLY
    (hpcorch_serve "$@") </dev/null &
    hpcorch_await "$!"
    rm -f -- "$base.pid"
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

# hpcorch_start_workers HOST ADDRESS TYPE CPU...: starts all workers and waits until they are ready.
# HOST is where they listen for other nodes, or empty; CPU... as in hpcorch_worker_settings.
hpcorch_start_workers() {
  local number
  hpcorch_worker_settings "${@:2}"
  for ((number = 0; number < HPCORCH_WORKERS; number++)); do
    hpcorch_worker_log "$number"
    hpcorch_keep_worker "$number" "$1" "$2" >>"$REPLY" 2>&1 &
    HPCORCH_WORKER_PIDS+=("$!")
    HPCORCH_WORKER_BASES+=("$HPCORCH_NODE_DIR/worker.$number")
  done
  for ((number = 0; number < HPCORCH_WORKERS; number++)); do hpcorch_await_worker "$number"; done
}

# hpcorch_await_worker NUMBER: ends the task, with the worker's last words, if it does not start.
hpcorch_await_worker() {
  local base=$HPCORCH_NODE_DIR/worker.$1 deadline log
  hpcorch_worker_log "$1"
  log=$REPLY
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
  local log=$HPCORCH_RUN_DIR/logs/$HPCORCH_NAME.$HPCORCH_INDEX${HPCORCH_LOG_TAG-}.models.log
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
  local at base pid
  for at in "${!HPCORCH_WORKER_PIDS[@]}"; do
    base=${HPCORCH_WORKER_BASES[at]}
    : >"$base.ending"
    # First who would start it again. They ignore all signals but this one.
    kill -KILL "${HPCORCH_WORKER_PIDS[at]}" 2>/dev/null || true
    # Bash tells of a killed child, which is no news here.
    { wait "${HPCORCH_WORKER_PIDS[at]}" || true; } 2>/dev/null
    pid=""
    { read -r pid <"$base.pid" || true; } 2>/dev/null
    if [[ -n $pid ]]; then kill -KILL "$pid" 2>/dev/null || true; fi
  done
  HPCORCH_WORKER_PIDS=() HPCORCH_WORKER_BASES=()
}
