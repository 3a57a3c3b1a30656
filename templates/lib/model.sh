# shellcheck shell=bash
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
