# shellcheck shell=bash
# What apptainer and singularity let through: directories by one variable, the program's variables by
# one each, so that they arrive even in a clean environment and no value stands in a command line.
# Reads: HPCORCH_CONTAINER HPCORCH_CONTAINER_MOUNTS HPCORCH_SHARED HPCORCH_PROGRAM_ENV

# hpcorch_find_mounts: what must be there inside, after what the user has named, in HPCORCH_MOUNTS.
hpcorch_find_mounts() {
  local path binds=${HPCORCH_CONTAINER}_BIND
  HPCORCH_MOUNTS=${!binds-}
  for path in "${HPCORCH_CONTAINER_MOUNTS[@]}"; do HPCORCH_MOUNTS+="${HPCORCH_MOUNTS:+,}$path"; done
}

# hpcorch_enter_container: adds those variables to the program's.
hpcorch_enter_container() {
  local pair inside=() mounts=$HPCORCH_MOUNTS${HPCORCH_SHARED:+,$HPCORCH_SHARED}
  for pair in "${HPCORCH_PROGRAM_ENV[@]}" "HPCORCH_INDEX=$HPCORCH_INDEX"; do
    # The shell inside refuses names that it cannot hold; each such value has an alias.
    if [[ ${pair%%=*} =~ ^[A-Za-z_][A-Za-z0-9_]*$ ]]; then
      inside+=("${HPCORCH_CONTAINER}ENV_$pair")
    fi
  done
  HPCORCH_PROGRAM_ENV+=("${HPCORCH_CONTAINER}_BIND=$mounts" "${inside[@]}")
}
