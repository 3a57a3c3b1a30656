# shellcheck shell=bash
# Tasks on distinct nodes of a PBS job that is there already.
# Reads: HPCORCH_STARTER HPCORCH_HOSTS PBS_JOBID

# hpcorch_launch_task INDEX WORDS...: becomes the program that runs WORDS on the node of that index.
hpcorch_launch_task() {
  # Elsewhere the search path is a poor one, and ssh brings none of PBS's variables.
  local words=("${@:2}" "$PBS_JOBID" "$PATH")
  if [[ $HPCORCH_STARTER == mpiexec ]]; then
    exec mpiexec -n 1 -host "${HPCORCH_HOSTS[$1]}" "${words[@]}"
  fi
  hpcorch_gang_start "$1" "${words[@]}"
}
