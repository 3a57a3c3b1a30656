# shellcheck shell=bash
# Tasks on distinct nodes of a PBS job that is there already.
# Reads: HPCORCH_STARTER HPCORCH_HOSTS HPCORCH_RUN_DIR HPCORCH_ELEMENTS PBS_JOBID

# hpcorch_find_hosts: the nodes for the tasks; without enough of them every task has failed.
hpcorch_find_hosts() {
  local index
  hpcorch_gang_hosts && return
  umask 077
  mkdir -p -- "$HPCORCH_RUN_DIR/exit"
  for ((index = 0; index < HPCORCH_ELEMENTS; index++)); do
    printf '{"index":%d,"job":"%d","code":1,"signal":null,"elapsed":0,"reason":"%s"}\n' \
      "$index" "$$" "$REPLY" >"$HPCORCH_RUN_DIR/exit/$index.tmp"
    mv -f -- "$HPCORCH_RUN_DIR/exit/$index.tmp" "$HPCORCH_RUN_DIR/exit/$index"
  done
  exit 1
}

# hpcorch_launch_task INDEX WORDS...: becomes the program that runs WORDS on the node of that index.
hpcorch_launch_task() {
  # Elsewhere the search path is a poor one, and ssh brings none of PBS's variables.
  local words=("${@:2}" "$PBS_JOBID" "$PATH")
  if [[ $HPCORCH_STARTER == mpiexec ]]; then
    exec mpiexec -n 1 -host "${HPCORCH_HOSTS[$1]}" "${words[@]}"
  fi
  hpcorch_gang_start "$1" "${words[@]}"
}
