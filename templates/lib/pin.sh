# shellcheck shell=bash
# CPUs: which of them a node's part of the job may use, and who of the job sits where.
# Reads: HPCORCH_DB_CPUS (numbers inside the allowed ones) HPCORCH_LIMIT_APP

# hpcorch_expand LIST: a list such as 0,2,5-7 as numbers, in HPCORCH_NUMBERS.
hpcorch_expand() {
  local part cpu
  HPCORCH_NUMBERS=()
  for part in ${1//,/ }; do
    for ((cpu = 10#${part%-*}; cpu <= 10#${part#*-}; cpu++)); do HPCORCH_NUMBERS+=("$cpu"); done
  done
}

# hpcorch_cpus_of PID: the CPUs that process may use, in HPCORCH_NUMBERS.
hpcorch_cpus_of() {
  local key value=""
  while read -r key value; do
    if [[ $key == Cpus_allowed_list: ]]; then break; fi
  done <"/proc/$1/status"
  hpcorch_expand "$value"
}

# hpcorch_join NUMBER...: with commas, in REPLY.
hpcorch_join() {
  local IFS=,
  REPLY="$*"
}

# hpcorch_common NUMBER... -- NUMBER...: those of the first that are among the second, in
# HPCORCH_NUMBERS; the others in HPCORCH_OTHERS.
hpcorch_common() {
  local first=() second=" " number
  while [[ $1 != -- ]]; do
    first+=("$1")
    shift
  done
  second=" ${*:2} "
  HPCORCH_NUMBERS=() HPCORCH_OTHERS=()
  for number in ${first[@]+"${first[@]}"}; do
    if [[ $second == *" $number "* ]]; then
      HPCORCH_NUMBERS+=("$number")
    else
      HPCORCH_OTHERS+=("$number")
    fi
  done
}

# hpcorch_choose_cpus CPU...: the server's CPUs, by their numbers inside these, in HPCORCH_SERVER_CPUS.
hpcorch_choose_cpus() {
  local allowed=("$@") cpu
  HPCORCH_SERVER_CPUS=()
  for cpu in ${HPCORCH_DB_CPUS[@]+"${HPCORCH_DB_CPUS[@]}"}; do
    if ((cpu >= ${#allowed[@]})); then
      hpcorch_join "${allowed[@]}"
      hpcorch_fail "the database cannot have CPU number $cpu: this task may use" \
        "${#allowed[@]} CPUs ($REPLY), numbered from 0"
    fi
    HPCORCH_SERVER_CPUS+=("${allowed[cpu]}")
  done
}

# hpcorch_pin_server CPU...: the words before the server's own, in HPCORCH_PIN_SERVER: numactl also
# keeps memory near, taskset is the fallback. CPU... are all that it may choose from.
hpcorch_pin_server() {
  local allowed
  HPCORCH_PIN_SERVER=()
  ((${#HPCORCH_DB_CPUS[@]})) || return 0
  hpcorch_choose_cpus "$@"
  hpcorch_join "$@"
  allowed=$REPLY
  hpcorch_join "${HPCORCH_DB_CPUS[@]}"
  # numactl counts inside the CPUs that it may use itself, which a launcher may have cut down.
  HPCORCH_PIN_SERVER=(taskset -c "$allowed" numactl --physcpubind="+$REPLY" --localalloc)
  if ! "${HPCORCH_PIN_SERVER[@]}" true >/dev/null 2>&1; then
    hpcorch_join "${HPCORCH_SERVER_CPUS[@]}"
    HPCORCH_PIN_SERVER=(taskset -c "$REPLY")
  fi
}
