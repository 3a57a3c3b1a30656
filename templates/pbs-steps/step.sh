# shellcheck shell=bash
# Tasks on the nodes of a PBS job that is there already.
# Reads: HPCORCH_STARTER HPCORCH_HOSTS HPCORCH_TASKS_PER_HOST HPCORCH_ELEMENTS PBS_JOBID

# hpcorch_find_hosts: the nodes for the tasks; without enough of them every task has failed.
hpcorch_find_hosts() {
  local index
  hpcorch_gang_hosts && return
  for ((index = 0; index < HPCORCH_ELEMENTS; index++)); do
    hpcorch_record "$index" "$$" 1 "$REPLY"
  done
  exit 1
}

# hpcorch_launch_task INDEX WORDS...: becomes the program that runs WORDS where that task belongs.
hpcorch_launch_task() {
  # Elsewhere the search path is a poor one, and ssh brings none of PBS's variables.
  local words=("${@:2}" "$PBS_JOBID" "$PATH")
  if [[ $HPCORCH_STARTER == mpiexec ]]; then
    exec mpiexec -n 1 -host "${HPCORCH_HOSTS[$1 / HPCORCH_TASKS_PER_HOST]}" "${words[@]}"
  fi
  hpcorch_gang_start "$1" "${words[@]}"
}
