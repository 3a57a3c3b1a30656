#!/bin/bash
#SBATCH --job-name=sim
#SBATCH --comment=hpcorch:0123456789abcdef
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4
#SBATCH --cpus-per-task=2
#SBATCH --time=0:30:00
#SBATCH --partition=gpu
#SBATCH --account=a1
#SBATCH --mem-per-cpu=8000M
# model sim, 1 task(s)
# made by hpcorch 0.0.0 from slurm/model.sh.j2 (template context 1)
# to submit it by hand: sbatch THIS_FILE
# sha256 of what follows: e587fd2a47aca1fbe023ad9229354bddee73d7c601c688335c632e0236f79d96
# What SHELLOPTS, BASHOPTS, BASH_ENV or POSIXLY_CORRECT of the environment have set must change nothing.
HPCORCH_STRICT='set +afkmCP +o posix
set -euo pipefail
printf -v IFS " \t\n"
export -n SHELLOPTS BASHOPTS
shopt -u dotglob expand_aliases failglob inherit_errexit lastpipe localvar_inherit nocaseglob \
  nocasematch nullglob varredir_close xpg_echo 2>/dev/null || true'
eval "$HPCORCH_STRICT"
# Who starts it may have closed these, to be free of a terminal.
[[ -e /dev/fd/1 ]] || exec >/dev/null
[[ -e /dev/fd/2 ]] || exec 2>/dev/null

HPCORCH_KIND=model
HPCORCH_NAME=sim
HPCORCH_RUN_DIR=/scratch/exp/sim
HPCORCH_ELEMENTS=1
HPCORCH_GANG=false
HPCORCH_SCHEDULER=slurm

: "${SLURM_JOB_ID:?this script is for the inside of a Slurm job: use sbatch}"
HPCORCH_INDEX=${SLURM_ARRAY_TASK_ID:-0}
HPCORCH_JOB=${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}
HPCORCH_TOKEN=0123456789abcdef
HPCORCH_GENERATION=${SLURM_RESTART_COUNT:-0}
# A signal of the user's own choice may go to this script alone.
HPCORCH_ALL_GET_TERM=1

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
export HPCORCH_INDEX HPCORCH_JOB HPCORCH_GENERATION

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
  local earlier=$HPCORCH_SIGNAL
  HPCORCH_SIGNAL=$1
  if declare -F hpcorch_signal_meaning >/dev/null; then hpcorch_signal_meaning; fi
  if [[ -z $HPCORCH_CHILD ]]; then
    # Asked before, it is ending: what the program has left is seen to in peace.
    if [[ -z $earlier ]]; then
      HPCORCH_REASON="received SIG$1"
      exit "$2"
    fi
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

# A user's program: it waits for its databases, gets their addresses, and its exit code counts.
# Reads: HPCORCH_PROGRAM HPCORCH_PROGRAM_ENV HPCORCH_DEADLINE_SECONDS HPCORCH_ALL_GET_TERM
#        HPCORCH_ONE_NODE

# hpcorch_json_field FILE NAME: a text field of a file that hpcorch_publish wrote, in REPLY.
hpcorch_json_field() {
  local text=""
  REPLY=""
  { IFS= read -r text <"$1"; } 2>/dev/null || return 1
  [[ $text =~ \"$2\":\"(([^\"\\]|\\.)*)\" ]] || return 1
  REPLY=${BASH_REMATCH[1]//\\\"/\"}
  REPLY=${REPLY//\\\\/\\}
}

# hpcorch_database_ended DIRECTORY: has the database there ended? Why, in REPLY.
hpcorch_database_ended() {
  local file
  for file in "$1"/exit/*; do
    [[ $file != *.tmp && -e $file ]] || continue
    hpcorch_json_field "$file" reason && [[ -n $REPLY ]] || REPLY="it was stopped"
    return 0
  done
  return 1
}

# hpcorch_use_database DIRECTORY SUFFIX: waits for it and adds its variables to the program's.
hpcorch_use_database() {
  local directory=$1 suffix=$2 waited=0
  until [[ -e $directory/address.env ]]; do
    if hpcorch_database_ended "$directory"; then
      hpcorch_fail "the database in $directory has ended: $REPLY"
    fi
    if ((!waited)); then hpcorch_say "waiting for the database in $directory"; fi
    waited=1
    hpcorch_pause 100
  done
  hpcorch_json_field "$directory/address.json" ssdb || hpcorch_fail "$directory/address.json is damaged"
  hpcorch_variable SSDB "$suffix" "$REPLY"
  hpcorch_json_field "$directory/address.json" type && hpcorch_variable SR_DB_TYPE "$suffix" "$REPLY"
  if hpcorch_json_field "$directory/address.json" credentials; then
    hpcorch_variable HPCORCH_CREDENTIALS "$suffix" "$REPLY"
  fi
}

# hpcorch_variable NAME SUFFIX VALUE: one variable of the program. Shells drop names with a '-' or
# '.', so that programs started through one find the value under a name that shells keep.
hpcorch_variable() {
  local alias=${2//[!A-Za-z0-9_]/_}
  HPCORCH_PROGRAM_ENV+=("$1$2=$3")
  if [[ $alias != "$2" ]]; then HPCORCH_PROGRAM_ENV+=("$1$alias=$3"); fi
}

# hpcorch_own_session: Open MPI keeps files where all launches of a user on a node meet, and one of two
# that begin at the same moment may fail there: one of a single node gets a place of its own.
hpcorch_own_session() {
  if [[ -n ${OMPI_MCA_orte_tmpdir_base-} ]]; then return 0; fi
  case ${HPCORCH_COMMAND[0]} in
    mpirun | mpiexec | orterun)
      hpcorch_node_dir
      # The second is what newer ones read.
      export OMPI_MCA_orte_tmpdir_base=$HPCORCH_NODE_DIR PRTE_MCA_prte_tmpdir_base=$HPCORCH_NODE_DIR
      ;;
  esac
}

# hpcorch_pass_on SIGNAL: the program is asked to end. A second SIGTERM would break off what it saves
# because of the first, which all processes of a job get in most batch systems.
hpcorch_pass_on() {
  if [[ $1 == TERM && $HPCORCH_ALL_GET_TERM == 1 ]]; then return 0; fi
  if [[ ${HPCORCH_COMMAND[0]} == srun ]]; then
    hpcorch_end_srun "$HPCORCH_CHILD"
  else
    kill -TERM "$HPCORCH_CHILD" 2>/dev/null || true
  fi
}

# hpcorch_run_program: runs it byte for byte as it was described; its exit code is the task's.
hpcorch_run_program() {
  cd -- "$HPCORCH_WORK_DIR" || hpcorch_fail "cannot enter $HPCORCH_WORK_DIR"
  HPCORCH_COMMAND=("${HPCORCH_PROGRAM[@]}")
  if declare -F hpcorch_prepare_ranks >/dev/null; then hpcorch_prepare_ranks; fi
  if ((HPCORCH_ONE_NODE)); then hpcorch_own_session; fi
  hpcorch_shield "${HPCORCH_COMMAND[0]}"
  hpcorch_exec env -- ${HPCORCH_PROGRAM_ENV[@]+"${HPCORCH_PROGRAM_ENV[@]}"} \
    ${HPCORCH_SHIELD[@]+"${HPCORCH_SHIELD[@]}"} "${HPCORCH_COMMAND[@]}" \
    {HPCORCH_OUTER}>&- {HPCORCH_IDLE}>&- &
  HPCORCH_CHILD=$!
  hpcorch_await "$HPCORCH_CHILD"
  HPCORCH_CHILD=""
  HPCORCH_CODE=$REPLY
  if ((HPCORCH_CODE != 0)); then
    HPCORCH_REASON="the program ended with exit code $HPCORCH_CODE"
    if ((HPCORCH_CODE == 127)); then
      HPCORCH_REASON+=": is ${HPCORCH_PROGRAM[0]} on $(uname -n)?"
    fi
    # What kept a process from starting the program says more than its code.
    if [[ -s $HPCORCH_RUN_DIR/shards/$HPCORCH_INDEX.failed ]]; then
      HPCORCH_REASON=$(<"$HPCORCH_RUN_DIR/shards/$HPCORCH_INDEX.failed")
    fi
  fi
}

HPCORCH_WORK_DIR=/scratch/exp/sim
HPCORCH_ONE_NODE=0
HPCORCH_PROGRAM=(srun --nodes=2 --ntasks=8 --ntasks-per-node=4 --cpus-per-task=2 --mpi=pmix /opt/app/program 'in put')
HPCORCH_PROGRAM_ENV=()

HPCORCH_CODE=0
hpcorch_begin

# Environment modules (Environment Modules, Lmod) that the site has every job load.

# hpcorch_load_modules NAME...: loads them; the task fails with the first that cannot be had.
hpcorch_load_modules() {
  local name file code=0
  # The module command is not written for these.
  set +euo pipefail
  if ! type module &>/dev/null; then
    # No login shell has defined it: its own file does.
    for file in "${MODULESHOME:+$MODULESHOME/init/bash}" "${LMOD_PKG:+$LMOD_PKG/init/bash}" \
      /etc/profile.d/modules.sh /etc/profile.d/lmod.sh \
      /usr/share/modules/init/bash /usr/share/lmod/lmod/init/bash; do
      # shellcheck source=/dev/null
      if [[ -r $file ]] && source "$file" && type module &>/dev/null; then break; fi
    done
  fi
  for name in "$@"; do
    module load "$name" || { code=$? && break; }
  done
  eval "$HPCORCH_STRICT"
  if ((code)); then hpcorch_fail "module $name cannot be loaded on $HOSTNAME (code $code)"; fi
}

hpcorch_load_modules valkey/8.0 'it'"'"'s'
hpcorch_run_program
exit "$HPCORCH_CODE"
