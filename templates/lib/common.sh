# shellcheck shell=bash
# What every task does: private files, one exit record, messages, waiting with a deadline.
# Reads: HPCORCH_RUN_DIR HPCORCH_KIND HPCORCH_NAME HPCORCH_ELEMENTS HPCORCH_SCHEDULER
#        HPCORCH_INDEX HPCORCH_JOB HPCORCH_TOKEN

# hpcorch_announce TEXT...: a line for the log and for whoever watches the job's own output, which
# descriptor HPCORCH_OUTER keeps.
hpcorch_announce() {
  hpcorch_say "$@"
  hpcorch_say "$@" >&"$HPCORCH_OUTER"
}

# hpcorch_say TEXT...: one line of progress.
hpcorch_say() { printf '%(%H:%M:%S)T %s[%s]: %s\n' -1 "$HPCORCH_NAME" "$HPCORCH_INDEX" "$*"; }

# hpcorch_fail TEXT...: ends the task with code HPCORCH_FAILURE (default 1); the text goes to its error
# log and its exit record.
hpcorch_fail() {
  HPCORCH_REASON="$*"
  hpcorch_say "error: $*" >&2
  hpcorch_say "error: $*" >&"$HPCORCH_OUTER"
  exit "${HPCORCH_FAILURE:-1}"
}

# hpcorch_pause [MILLISECONDS]: lets a polling loop breathe without starting a process:
# HPCORCH_IDLE is a pipe that never has anything to read.
hpcorch_pause() {
  local seconds
  printf -v seconds '%d.%03d' $((${1:-30} / 1000)) $((${1:-30} % 1000))
  read -r -t "$seconds" -u "$HPCORCH_IDLE" || true
}

# hpcorch_clock: hundredths of a second since boot, in REPLY; never jumps, unlike the date.
hpcorch_clock() {
  local times=()
  read -r -a times </proc/uptime
  REPLY=$((10#${times[0]/./}))
}

# hpcorch_json TEXT: TEXT as the inside of a JSON string, in REPLY.
hpcorch_json() {
  REPLY=${1//\\/\\\\}
  REPLY=${REPLY//\"/\\\"}
  REPLY=${REPLY//$'\n'/\\n}
  REPLY=${REPLY//$'\t'/\\t}
  REPLY=${REPLY//[$'\x01'-$'\x1f']/ }
}

# hpcorch_publish FILE TEXT: FILE appears with all of TEXT or not at all.
hpcorch_publish() {
  printf '%s\n' "$2" >"$1.$HPCORCH_INDEX.tmp" && mv -f -- "$1.$HPCORCH_INDEX.tmp" "$1"
}

# hpcorch_begin: private modes, directories, logs, and the traps that leave the exit record.
hpcorch_begin() {
  local mine=$HPCORCH_RUN_DIR/shards/$HPCORCH_INDEX
  # Our own files are private; the user's program gets its mask back.
  HPCORCH_UMASK=$(umask)
  umask 077
  exec {HPCORCH_OUTER}>&1
  mkdir -p -- "$HPCORCH_RUN_DIR"/{logs,shards,exit}
  # What an earlier life of this task has left would mislead the others.
  rm -f -- "$HPCORCH_RUN_DIR/exit/$HPCORCH_INDEX" "$mine.json" "$mine.ready" "$mine.started"
  export HPCORCH_STEP_FILE=$HPCORCH_RUN_DIR/shards/step
  exec >>"$HPCORCH_RUN_DIR/logs/$HPCORCH_NAME.$HPCORCH_INDEX.out" \
    2>>"$HPCORCH_RUN_DIR/logs/$HPCORCH_NAME.$HPCORCH_INDEX.err"
  HPCORCH_CHILD="" HPCORCH_SIGNAL="" HPCORCH_REASON="" HPCORCH_NODE_DIR=""
  exec {HPCORCH_IDLE}<> <(:)
  hpcorch_clock
  HPCORCH_STARTED=$REPLY
  HPCORCH_PREAMBLE_END=""
  hpcorch_set_traps
  if ((${HPCORCH_ROW:-$HPCORCH_INDEX} == 0)); then
    hpcorch_publish "$HPCORCH_RUN_DIR/job.json" "$(
      printf '{"kind":"%s","name":"%s","elements":%d,"gang":%s,"per_element":%d,' \
        "$HPCORCH_KIND" "$HPCORCH_NAME" "$HPCORCH_ELEMENTS" "$HPCORCH_GANG" "${HPCORCH_PER_ELEMENT:-1}"
      printf '"scheduler":"%s","job":"%s","token":"%s","label":"%s"}' \
        "$HPCORCH_SCHEDULER" "$HPCORCH_JOB" "$HPCORCH_TOKEN" "${HPCORCH_LABEL-}"
    )"
  fi
  hpcorch_publish "$mine.started" "$HPCORCH_JOB"
}

# hpcorch_set_traps: what leaves the exit record, and what signals do.
hpcorch_set_traps() {
  trap hpcorch_finish EXIT
  trap 'hpcorch_on_signal TERM 143' TERM
  trap 'hpcorch_on_signal INT 130' INT
  trap 'hpcorch_on_signal HUP 129' HUP
  # Batch systems send it some time before the walltime ends, when the script asks for it.
  trap 'hpcorch_on_signal USR1 138' USR1
}

# hpcorch_after_preamble: the mask that the user's lines have set is the program's, and what they trapped
# the end with is run then; the traps of this script are its own again.
hpcorch_after_preamble() {
  eval "$HPCORCH_STRICT"
  HPCORCH_UMASK=$(umask)
  umask 077
  HPCORCH_PREAMBLE_END=$(trap -p EXIT)
  if [[ $HPCORCH_PREAMBLE_END == *hpcorch_finish* ]]; then HPCORCH_PREAMBLE_END=""; fi
  hpcorch_set_traps
}

# hpcorch_on_signal NAME CODE: what was started gets SIGTERM and a chance to end; else the task ends.
hpcorch_on_signal() {
  HPCORCH_SIGNAL=$1
  if declare -F hpcorch_signal_meaning >/dev/null; then hpcorch_signal_meaning; fi
  if [[ -z $HPCORCH_CHILD ]]; then
    HPCORCH_REASON="received SIG$1"
    exit "$2"
  elif declare -F hpcorch_pass_on >/dev/null; then
    hpcorch_pass_on "$1"
  else
    kill -TERM "$HPCORCH_CHILD" 2>/dev/null || true
  fi
}

# hpcorch_await PID: waits for that child through any number of signals; its exit code in REPLY.
hpcorch_await() {
  REPLY=0
  wait "$1" || REPLY=$?
  while kill -0 "$1" 2>/dev/null; do
    wait "$1" || true
  done
  # A wait that a signal interrupted reports the signal: ask again for the program's own code.
  REPLY=0
  wait "$1" || REPLY=$?
  # Bash may lose the code of a child that gets the same signal at the same moment, and says -1.
  if ((REPLY < 0)); then REPLY=143; fi
}

# hpcorch_exec PROGRAM ARGS...: becomes the user's program, whose files get the user's own mask.
hpcorch_exec() {
  umask "$HPCORCH_UMASK"
  exec "$@"
}

# hpcorch_shield PROGRAM: the words to put before it where env(1) starts it, in HPCORCH_SHIELD: a path
# with a '=' would be a variable there, and is a program to nice(1).
hpcorch_shield() {
  HPCORCH_SHIELD=()
  if [[ $1 == *=* ]]; then HPCORCH_SHIELD=(nice -n 0); fi
}

# hpcorch_tmpdir: where private files of this node go, in REPLY: a full path, since others look there too.
hpcorch_tmpdir() {
  REPLY=${TMPDIR:-/tmp}
  if [[ $REPLY != /* ]]; then REPLY=$PWD/$REPLY; fi
}

# hpcorch_node_dir: a private directory on this node, in HPCORCH_NODE_DIR; removed at the end.
hpcorch_node_dir() {
  hpcorch_tmpdir
  HPCORCH_NODE_DIR=$(mktemp -d "$REPLY/hpcorch.XXXXXXXX") || hpcorch_fail "cannot make a directory in $REPLY"
}

# hpcorch_last_words CODE: why the script broke off, in HPCORCH_REASON: what it complained of last.
hpcorch_last_words() {
  local log=$HPCORCH_RUN_DIR/logs/$HPCORCH_NAME.$HPCORCH_INDEX.err
  HPCORCH_REASON=$(tail -n 1 -- "$log" 2>/dev/null) || true
  HPCORCH_REASON="the job script broke off with code $1${HPCORCH_REASON:+: $HPCORCH_REASON}"
}

# hpcorch_finish: the EXIT trap. The record says what the scheduler may forget or never knew.
hpcorch_finish() {
  local code=$? signal=null reason
  trap '' TERM INT HUP USR1
  if ((code)) && [[ -z $HPCORCH_REASON$HPCORCH_SIGNAL ]]; then hpcorch_last_words "$code"; fi
  if declare -F hpcorch_end_workers >/dev/null; then hpcorch_end_workers; fi
  if declare -F hpcorch_cleanup >/dev/null; then hpcorch_cleanup; fi
  # The trap is set in a process of its own, whose end it then sees.
  if [[ -n $HPCORCH_PREAMBLE_END ]]; then (set +euo pipefail && eval "$HPCORCH_PREAMBLE_END") || true; fi
  if [[ -n $HPCORCH_NODE_DIR ]]; then rm -rf -- "$HPCORCH_NODE_DIR"; fi
  [[ -z $HPCORCH_SIGNAL ]] || signal="\"$HPCORCH_SIGNAL\""
  # A line of a log may be of any length, and replacing characters takes bash the square of that.
  hpcorch_json "${HPCORCH_REASON:0:2000}"
  reason=$REPLY
  hpcorch_clock
  hpcorch_publish "$HPCORCH_RUN_DIR/exit/$HPCORCH_INDEX" "$(
    printf '{"index":%d,"job":"%s","code":%d,"signal":%s,"elapsed":%d.%02d,"reason":"%s"}' \
      "$HPCORCH_INDEX" "$HPCORCH_JOB" "$code" "$signal" \
      $(((REPLY - HPCORCH_STARTED) / 100)) $(((REPLY - HPCORCH_STARTED) % 100)) "$reason"
  )"
  exit "$code"
}
