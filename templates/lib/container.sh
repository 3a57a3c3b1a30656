# shellcheck shell=bash
# What apptainer and singularity let through: directories by one variable, the program's variables by
# one each, so that they arrive even in a clean environment and no value stands in a command line.
# Reads: HPCORCH_CONTAINER HPCORCH_CONTAINER_MOUNTS HPCORCH_NODE_DIR HPCORCH_PROGRAM_ENV

# hpcorch_enter_container: adds those variables to the program's.
hpcorch_enter_container() {
  local pair mount binds=${HPCORCH_CONTAINER}_BIND inside=()
  mount=${!binds-}
  for pair in "${HPCORCH_CONTAINER_MOUNTS[@]}" ${HPCORCH_NODE_DIR:+"$HPCORCH_NODE_DIR"}; do
    mount+="${mount:+,}$pair"
  done
  for pair in "${HPCORCH_PROGRAM_ENV[@]}" "HPCORCH_INDEX=$HPCORCH_INDEX"; do
    # The shell inside refuses names that it cannot hold; each such value has an alias.
    if [[ ${pair%%=*} =~ ^[A-Za-z_][A-Za-z0-9_]*$ ]]; then
      inside+=("${HPCORCH_CONTAINER}ENV_$pair")
    fi
  done
  HPCORCH_PROGRAM_ENV+=("$binds=$mount" "${inside[@]}")
}
