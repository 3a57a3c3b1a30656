# shellcheck shell=bash
# Open MPI starts processes on other nodes without the variables of its own, except those it is told.
# Reads: HPCORCH_PROGRAM_ENV

# hpcorch_forward_environment: tells it by a variable, which other MPI libraries do not look at.
hpcorch_forward_environment() {
  local pair names=${OMPI_MCA_mca_base_env_list-}
  for pair in "${HPCORCH_PROGRAM_ENV[@]}" HPCORCH_INDEX=; do
    pair=${pair%%=*}
    if [[ $pair != *';'* ]]; then names+="${names:+;}$pair"; fi
  done
  export OMPI_MCA_mca_base_env_list=$names
}
