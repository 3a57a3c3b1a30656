# shellcheck shell=bash
# A gang: one job of several nodes, whose script starts itself once on each of them.
# Reads: HPCORCH_RUN_DIR HPCORCH_NAME HPCORCH_ELEMENTS HPCORCH_TASKS_PER_HOST HPCORCH_STARTER
#        PBS_JOBID PBS_NODEFILE

# hpcorch_gang_hosts: the job's nodes as PBS spells them, each once, in HPCORCH_HOSTS; in
# HPCORCH_HOST_LINES where each stands first in the list, which has a line for each MPI process.
# Returns 1 with the reason in REPLY if they are too few.
hpcorch_gang_hosts() {
  local host line=0
  HPCORCH_HOSTS=() HPCORCH_HOST_LINES=()
  while read -r host; do
    if [[ " ${HPCORCH_HOSTS[*]-} " != *" $host "* ]]; then
      HPCORCH_HOSTS+=("$host")
      HPCORCH_HOST_LINES+=("$line")
    fi
    line=$((line + 1))
  done <"$PBS_NODEFILE"
  REPLY="PBS gave the job ${#HPCORCH_HOSTS[@]} node(s) for $HPCORCH_ELEMENTS tasks"
  if ((HPCORCH_TASKS_PER_HOST > 1)); then REPLY+=", $HPCORCH_TASKS_PER_HOST on each"; fi
  ((${#HPCORCH_HOSTS[@]} * HPCORCH_TASKS_PER_HOST >= HPCORCH_ELEMENTS))
}

# hpcorch_gang_start INDEX WORDS...: becomes the program that runs WORDS where that task belongs.
hpcorch_gang_start() {
  local place=$(($1 / HPCORCH_TASKS_PER_HOST))
  local host=${HPCORCH_HOSTS[place]}
  shift
  case $HPCORCH_STARTER in
    mpiexec) exec mpiexec -n "$HPCORCH_ELEMENTS" "$@" ;;
    *) if ((place == 0)); then exec "$@"; fi ;;
  esac
  case $HPCORCH_STARTER in
    pbs_tmrsh) exec pbs_tmrsh "$host" "$@" ;;
    # Its end hangs up the terminal, by which the other side learns that the job is over.
    ssh) exec ssh -tt -o BatchMode=yes "$host" "$(printf '%q ' "$@")" ;;
    *) exec pbsdsh -n "${HPCORCH_HOST_LINES[place]}" -- "$@" ;;
  esac
}

# hpcorch_gang_await PID: waits for that child through any number of signals; its code in REPLY.
hpcorch_gang_await() {
  wait "$1" || true
  while kill -0 "$1" 2>/dev/null; do wait "$1" || true; done
  REPLY=0
  wait "$1" || REPLY=$?
}

# hpcorch_gang_code: the highest exit code in the tasks' records, in REPLY. pbsdsh ends with 0
# whatever happened; a record may be late by what a network file system caches.
hpcorch_gang_code() {
  local index text ended code=0 patience=20
  for ((index = 0; index < HPCORCH_ELEMENTS; index++)); do
    while :; do
      text=""
      { IFS= read -r text <"$HPCORCH_RUN_DIR/exit/$index"; } 2>/dev/null || true
      if [[ $text == *"\"job\":\"$PBS_JOBID\""* ]]; then break; fi
      text=""
      ((patience-- > 0)) || break
      sleep 0.5
    done
    ended=1
    if [[ $text =~ \"code\":([0-9]+) ]]; then ended=${BASH_REMATCH[1]}; fi
    if ((ended > code)); then code=$ended; fi
  done
  REPLY=$code
}

# hpcorch_gang SCRIPT: runs all tasks, as many on a node as it takes; ends with the highest exit code.
hpcorch_gang() {
  local copy=$HPCORCH_RUN_DIR/.gang.$PBS_JOBID starters=() starter index last code=0
  if ! hpcorch_gang_hosts; then
    printf '%s: error: %s\n' "$HPCORCH_NAME" "$REPLY" >&2
    exit 1
  fi
  # PBS keeps a script on the job's first node only; the other nodes read this copy.
  (umask 077 && mkdir -p -- "$HPCORCH_RUN_DIR" && cp -- "$1" "$copy")
  # PBS signals what runs here, and pbsdsh passes that on; this shell only has to outlive them.
  trap ':' TERM INT HUP
  last=$((HPCORCH_ELEMENTS - 1))
  if [[ $HPCORCH_STARTER == mpiexec ]]; then last=0; fi
  for ((index = 0; index <= last; index++)); do
    # Nothing here may leave the job's session: PBS would not find it when the job has to end.
    hpcorch_gang_start "$index" \
      bash "$copy" --element "$index" "$PBS_JOBID" "$PATH" </dev/null &
    starters+=("$!")
  done
  for starter in "${starters[@]}"; do
    hpcorch_gang_await "$starter"
    if ((REPLY > code)); then code=$REPLY; fi
  done
  hpcorch_gang_code
  if ((REPLY > code)); then code=$REPLY; fi
  rm -f -- "$copy"
  exit "$code"
}

# hpcorch_gang_element INDEX JOB PATH: what a task that was started so must know.
hpcorch_gang_element() {
  local rank
  export HPCORCH_INDEX=$1
  if [[ $HPCORCH_STARTER == mpiexec ]]; then
    for rank in "${PMI_RANK-}" "${PMIX_RANK-}" "${OMPI_COMM_WORLD_RANK-}" "${PALS_RANKID-}"; do
      if [[ -n $rank ]]; then HPCORCH_INDEX=$rank; fi
    done
  fi
  # Elsewhere the search path is a poor one, and ssh brings none of PBS's variables.
  export PBS_JOBID=$2 PATH=$3
}
