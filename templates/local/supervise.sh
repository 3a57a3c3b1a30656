# shellcheck shell=bash
# The array engine of the local scheduler: starts every task of the script, waits, keeps records.
# Reads: HPCORCH_RUN_DIR HPCORCH_NAME HPCORCH_ELEMENTS

# hpcorch_forward: passes a request to end on to all tasks.
hpcorch_forward() { kill -TERM "${HPCORCH_TASKS[@]}" 2>/dev/null || true; }

# hpcorch_record_death INDEX CODE: writes the exit record of a task that could not.
hpcorch_record_death() {
  local file=$HPCORCH_RUN_DIR/exit/$1
  if [[ -e $file ]] && grep -qF "\"job\":\"$$\"" -- "$file"; then return 0; fi
  printf '{"index":%d,"job":"%d","code":%d,"signal":null,"elapsed":0,"reason":"%s"}\n' \
    "$1" "$$" "$2" "the task died without a record, exit code $2" >"$file.tmp"
  chmod 600 -- "$file.tmp"
  mv -f -- "$file.tmp" "$file"
}

# hpcorch_sweep: ends what the tasks left in the background, as batch systems do. A script that was
# started by hand shares its session with a person's shell and leaves everything alone.
hpcorch_sweep() {
  local directory stat
  for directory in /proc/[0-9]*; do
    stat=""
    { IFS= read -r -d '' stat <"$directory/stat" || true; } 2>/dev/null
    [[ ${directory#/proc/} != "$$" && ${stat##*) } =~ ^[A-Z]\ [0-9]+\ [0-9]+\ $$\  ]] || continue
    kill -KILL "${directory#/proc/}" 2>/dev/null || true
  done
}

# hpcorch_launch_task INDEX WORDS...: becomes the program that runs WORDS where that task belongs.
if ! declare -F hpcorch_launch_task >/dev/null; then
  hpcorch_launch_task() { exec "${@:2}"; }
fi

# hpcorch_supervise SCRIPT TOKEN: runs all tasks, ends with the highest of their exit codes.
hpcorch_supervise() {
  local index code worst=0
  HPCORCH_TASKS=()
  (umask 077 && mkdir -p -- "$HPCORCH_RUN_DIR/exit")
  trap hpcorch_forward TERM INT HUP
  for ((index = 0; index < HPCORCH_ELEMENTS; index++)); do
    hpcorch_launch_task "$index" bash "$1" --element "$index" "$$" "$2" </dev/null &
    HPCORCH_TASKS+=("$!")
  done
  printf '%s: job %s runs %d task(s), logs are in %s\n' \
    "$HPCORCH_NAME" "$$" "$HPCORCH_ELEMENTS" "$HPCORCH_RUN_DIR/logs"
  for ((index = 0; index < HPCORCH_ELEMENTS; index++)); do
    wait "${HPCORCH_TASKS[index]}" || true
    while kill -0 "${HPCORCH_TASKS[index]}" 2>/dev/null; do
      wait "${HPCORCH_TASKS[index]}" || true
    done
    code=0
    wait "${HPCORCH_TASKS[index]}" || code=$?
    if ((code < 0)); then code=143; fi
    hpcorch_record_death "$index" "$code"
    worst=$((code > worst ? code : worst))
  done
  hpcorch_sweep
  exit "$worst"
}
