# shellcheck shell=bash
# CPUs, counted inside those that this task may use (a job rarely owns CPU 0).
# Reads: HPCORCH_DB_CPUS (numbers inside the allowed ones) HPCORCH_LIMIT_APP

# hpcorch_allowed_cpus: the CPUs this task may use, one number each, in HPCORCH_ALLOWED.
hpcorch_allowed_cpus() {
  local key value part cpu
  HPCORCH_ALLOWED=()
  while read -r key value; do
    if [[ $key == Cpus_allowed_list: ]]; then break; fi
  done </proc/self/status
  for part in ${value//,/ }; do
    for ((cpu = ${part%-*}; cpu <= ${part#*-}; cpu++)); do HPCORCH_ALLOWED+=("$cpu"); done
  done
}

# hpcorch_join NUMBER...: with commas, in REPLY.
hpcorch_join() {
  local IFS=,
  REPLY="$*"
}

# hpcorch_plan_pinning: command prefixes for the server and the program.
hpcorch_plan_pinning() {
  local cpu server=() rest=() taken=" "
  HPCORCH_PIN_SERVER=() HPCORCH_PIN_APP=()
  ((${#HPCORCH_DB_CPUS[@]})) || return 0
  hpcorch_allowed_cpus
  for cpu in "${HPCORCH_DB_CPUS[@]}"; do
    if ((cpu >= ${#HPCORCH_ALLOWED[@]})); then
      hpcorch_join "${HPCORCH_ALLOWED[@]}"
      hpcorch_fail "the database cannot have CPU number $cpu: this task may use" \
        "${#HPCORCH_ALLOWED[@]} CPUs ($REPLY), numbered from 0"
    fi
    server+=("${HPCORCH_ALLOWED[cpu]}")
    taken+="${HPCORCH_ALLOWED[cpu]} "
  done
  for cpu in "${HPCORCH_ALLOWED[@]}"; do
    if [[ $taken != *" $cpu "* ]]; then rest+=("$cpu"); fi
  done
  hpcorch_pin_server "${server[@]}"
  if [[ $HPCORCH_LIMIT_APP != 1 ]]; then return 0; fi
  if ((${#rest[@]} == 0)); then
    hpcorch_say "the database has all CPUs of this task: the program shares them" >&2
    return 0
  fi
  hpcorch_join "${rest[@]}"
  # shellcheck disable=SC2034 # a job without a program of the user's has no use for it
  HPCORCH_PIN_APP=(taskset -c "$REPLY")
}

# hpcorch_pin_server CPU...: numactl also keeps memory near; taskset is the fallback.
hpcorch_pin_server() {
  hpcorch_join "$@"
  HPCORCH_PIN_SERVER=(taskset -c "$REPLY")
  hpcorch_join "${HPCORCH_DB_CPUS[@]}"
  if command -v numactl >/dev/null &&
    numactl --physcpubind="+$REPLY" --localalloc true >/dev/null 2>&1; then
    HPCORCH_PIN_SERVER=(numactl --physcpubind="+$REPLY" --localalloc)
  fi
}
