# shellcheck shell=bash
# The array engine of the local scheduler: starts every task of the script, waits, keeps records.
# Reads: HPCORCH_RUN_DIR HPCORCH_NAME HPCORCH_ELEMENTS

# hpcorch_forward: passes a request to end on to all tasks; those that wait are not started any more.
hpcorch_forward() {
  HPCORCH_COUNT=0
  kill -TERM "${HPCORCH_TASKS[@]}" 2>/dev/null || true
}

# hpcorch_number PLACE: that task's number, in HPCORCH_INDEX. The table is read but once: when this job
# leaves, it may be that of the next run.
hpcorch_number() {
  if [[ -z ${HPCORCH_TASK_NUMBERS[$1]-} ]]; then
    HPCORCH_INDEX=$1
    if [[ -n ${HPCORCH_TABLE_ROWS-} ]]; then hpcorch_read_task "$((HPCORCH_FIRST_ROW + $1))"; fi
    HPCORCH_TASK_NUMBERS[$1]=$HPCORCH_INDEX
  fi
  HPCORCH_INDEX=${HPCORCH_TASK_NUMBERS[$1]}
}

# hpcorch_has_record PLACE: has that task, whose number is put into HPCORCH_INDEX, a record?
hpcorch_has_record() {
  local file
  hpcorch_number "$1"
  file=$HPCORCH_RUN_DIR/exit/$HPCORCH_INDEX
  [[ -e $file ]] && grep -qF "\"job\":\"${HPCORCH_MARK:-$$}\"" -- "$file"
}

# hpcorch_recorded_code PLACE: the code in that task's record, in REPLY; fails without one.
hpcorch_recorded_code() {
  hpcorch_has_record "$1" || return 1
  [[ $(<"$HPCORCH_RUN_DIR/exit/$HPCORCH_INDEX") =~ \"code\":([0-9]+) ]] && REPLY=${BASH_REMATCH[1]}
}

# hpcorch_begins_anew: has a later run, which may find everything ended before this one has left,
# begun the task HPCORCH_INDEX? Its record is not ours to write any more.
hpcorch_begins_anew() {
  local job=""
  { IFS= read -r job <"$HPCORCH_RUN_DIR/shards/$HPCORCH_INDEX.started"; } 2>/dev/null &&
    [[ $job != "${HPCORCH_MARK:-$$}" ]]
}

# hpcorch_forget_earlier TOKEN: removes what an earlier run by hand has left, for which no driver has
# seen to it: process ids come back, in containers every time, and make its records look like ours.
hpcorch_forget_earlier() {
  if [[ $1 == by-hand-* ]]; then rm -rf -- "$HPCORCH_RUN_DIR"/{exit,shards}; fi
}

# hpcorch_sweep: ends what the tasks left in the background, as batch systems do. A script that was
# started by hand shares its session with a person's shell and leaves everything alone.
hpcorch_sweep() {
  local directory stat left=1 tries=0
  # What is about to die may still start others.
  while ((left && ++tries <= 100)); do
    left=0
    for directory in /proc/[0-9]*; do
      stat=""
      { IFS= read -r -d '' stat <"$directory/stat" || true; } 2>/dev/null
      [[ ${directory#/proc/} != "$$" && ${stat##*) } =~ ^[A-WY]\ [0-9]+\ [0-9]+\ $$\  ]] || continue
      kill -KILL "${directory#/proc/}" 2>/dev/null || true
      left=1
    done
    if ((left)); then read -r -t 0.01 -u "$HPCORCH_IDLE" || true; fi
  done
}

# hpcorch_launch_task INDEX WORDS...: becomes the program that runs WORDS where that task belongs.
if ! declare -F hpcorch_launch_task >/dev/null; then
  hpcorch_launch_task() { exec "${@:2}"; }
fi

# hpcorch_reap PLACE: waits for that task to end and sees to its record.
hpcorch_reap() {
  local pid=${HPCORCH_TASKS[$1]} code=0
  wait "$pid" || true
  while kill -0 "$pid" 2>/dev/null; do wait "$pid" || true; done
  wait "$pid" || code=$?
  if ((code < 0)); then
    # Bash may lose the code of a child that ends while a request to end comes: its record has it.
    code=143
    if hpcorch_recorded_code "$1"; then code=$REPLY; fi
  fi
  unset "HPCORCH_TASKS[$1]"
  if ! hpcorch_has_record "$1" && ! hpcorch_begins_anew; then
    hpcorch_record "$HPCORCH_INDEX" "${HPCORCH_MARK:-$$}" "$code" \
      "the task died without a record, exit code $code"
  fi
  HPCORCH_WORST=$((code > HPCORCH_WORST ? code : HPCORCH_WORST))
}

# hpcorch_supervise SCRIPT TOKEN: runs all tasks, no more than allowed at once, and ends with the
# highest of their exit codes.
hpcorch_supervise() {
  local next=0 place most
  # A table of many tasks is for as many at once as there are CPUs; shards need each other.
  HPCORCH_TASKS=() HPCORCH_TASK_NUMBERS=() HPCORCH_WORST=0
  HPCORCH_COUNT=${HPCORCH_TASKS_HERE:-$HPCORCH_ELEMENTS}
  most=${HPCORCH_MAX_RUNNING:-$HPCORCH_COUNT}
  if ((most == 0)); then most=$(nproc); fi
  hpcorch_forget_earlier "$2"
  (umask 077 && mkdir -p -- "$HPCORCH_RUN_DIR/exit")
  exec {HPCORCH_IDLE}<> <(:)
  trap hpcorch_forward TERM INT HUP
  printf '%s: job %s runs %d task(s), logs are in %s\n' \
    "$HPCORCH_NAME" "$$" "$HPCORCH_COUNT" "$HPCORCH_RUN_DIR/logs"
  while ((next < HPCORCH_COUNT || ${#HPCORCH_TASKS[@]})); do
    while ((next < HPCORCH_COUNT && ${#HPCORCH_TASKS[@]} < most)); do
      # A member that was stopped while it waited for room has got a record by now.
      if [[ -z ${HPCORCH_TABLE_ROWS-} ]] || ! hpcorch_has_record "$next"; then
        hpcorch_launch_task "$next" bash "$1" --element "$next" "$$" "$2" \
          </dev/null {HPCORCH_IDLE}>&- &
        HPCORCH_TASKS[next]=$!
        # A request to end that came meanwhile has not reached this one.
        ((HPCORCH_COUNT)) || kill -TERM "$!" 2>/dev/null || true
      fi
      next=$((next + 1))
    done
    for place in "${!HPCORCH_TASKS[@]}"; do
      if ((next >= HPCORCH_COUNT)) || ! kill -0 "${HPCORCH_TASKS[place]}" 2>/dev/null; then
        hpcorch_reap "$place"
      fi
    done
    if ((next < HPCORCH_COUNT)); then read -r -t 0.05 -u "$HPCORCH_IDLE" || true; fi
  done
  hpcorch_sweep
  exit "$HPCORCH_WORST"
}
