# shellcheck shell=bash
# The keeper of a node's servers: starts them for the first rank, ends them after the last one.
# Private files, private socket, own password.
# Reads: HPCORCH_TRANSPORT HPCORCH_SOCKET_PATH HPCORCH_SOCKET_MODE HPCORCH_INTERFACES HPCORCH_SHARED

# hpcorch_choose_socket DOMAIN: the path of the Unix socket, in HPCORCH_SOCKET.
hpcorch_choose_socket() {
  # Bytes are limited, not letters.
  local LC_ALL=C line
  HPCORCH_SOCKET=$HPCORCH_NODE_DIR/db.socket
  if [[ -n $HPCORCH_SOCKET_PATH ]]; then
    HPCORCH_SOCKET=$HPCORCH_SOCKET_PATH
    if [[ $1 != - ]]; then HPCORCH_SOCKET+=.$1; fi
  fi
  if ((${#HPCORCH_SOCKET} > 107)); then
    hpcorch_fail "the socket path $HPCORCH_SOCKET is longer than 107 bytes: use a shorter TMPDIR"
  fi
  # The server would take the name away from a living one: the kernel's table tells them apart.
  while IFS= read -r line; do
    [[ $line != *" $HPCORCH_SOCKET" ]] ||
      hpcorch_fail "the socket $HPCORCH_SOCKET is in use by another server"
  done </proc/net/unix
}

# hpcorch_extra_conf: the Unix socket, as redis.conf lines.
hpcorch_extra_conf() {
  [[ -n $HPCORCH_SOCKET ]] || return 0
  hpcorch_conf_word "$HPCORCH_SOCKET"
  printf 'unixsocket %s\nunixsocketperm %s\n' "$REPLY" "$HPCORCH_SOCKET_MODE"
}

# hpcorch_enter_server DOMAIN: its directory, in HPCORCH_NODE_DIR, and how its logs are told apart from
# those of other servers, in HPCORCH_LOG_TAG.
hpcorch_enter_server() {
  HPCORCH_NODE_DIR=$HPCORCH_SHARED/server$1
  HPCORCH_LOG_TAG=.$HPCORCH_NODE
  if [[ $1 != - ]]; then HPCORCH_LOG_TAG+=.numa$1; fi
}

# hpcorch_start_server DOMAIN CPU...: starts the server of those CPUs and waits until it answers;
# adds the line by which ranks find it to HPCORCH_SERVERS.
hpcorch_start_server() {
  local domain=$1 port=0 address near
  shift
  HPCORCH_SOCKET="" HPCORCH_IPS=() HPCORCH_SERVER_CPUS=()
  hpcorch_enter_server "$domain"
  mkdir -- "$HPCORCH_NODE_DIR"
  hpcorch_pin_server "$@"
  if [[ $HPCORCH_TRANSPORT == uds ]]; then hpcorch_choose_socket "$domain"; fi
  if ((${#HPCORCH_INTERFACES[@]})); then hpcorch_addresses "${HPCORCH_INTERFACES[@]}"; fi
  while :; do
    if ((${#HPCORCH_INTERFACES[@]})); then
      hpcorch_free_port "$((port ? port + HPCORCH_PORT_STEP : HPCORCH_FIRST_PORT))"
      port=$REPLY
    fi
    hpcorch_write_conf "$port"
    hpcorch_launch
    if hpcorch_await_answer "$port"; then break; fi
    if [[ $port == 0 ]]; then hpcorch_fail "the server could not listen at $HPCORCH_SOCKET"; fi
  done
  hpcorch_remember_server
  HPCORCH_CHILD=""
  address=127.0.0.1:$port
  if [[ $HPCORCH_TRANSPORT == uds ]]; then address=unix://$HPCORCH_SOCKET; fi
  hpcorch_join "$@"
  near=$REPLY
  hpcorch_join ${HPCORCH_SERVER_CPUS[@]+"${HPCORCH_SERVER_CPUS[@]}"}
  HPCORCH_SERVERS+=("$domain ${REPLY:--} $near $address")
}

# hpcorch_await_last_rank: returns when no rank of this node is left; the kernel lets go of the lock
# of one that was killed. Ranks that have not come yet are waited for while their launcher lives.
hpcorch_await_last_rank() {
  local deadline=0 came
  while :; do
    flock --exclusive "$HPCORCH_LOCK"
    came=("$HPCORCH_SHARED/ranks/"*)
    if ((${#came[@]} >= HPCORCH_LOCAL_SIZE)) || [[ -e $HPCORCH_SHARED/over ]]; then return 0; fi
    hpcorch_clock
    if ((deadline == 0)); then deadline=$((REPLY + HPCORCH_BOOT_SECONDS * 100)); fi
    ((REPLY < deadline)) || return 0
    flock --unlock "$HPCORCH_LOCK"
    hpcorch_pause 50
  done
}

# hpcorch_remember_server: what the server's end will need.
hpcorch_remember_server() {
  HPCORCH_LOG_OF[$HPCORCH_CHILD]=$HPCORCH_SERVER_LOG
  HPCORCH_SOCKET_OF[$HPCORCH_CHILD]=$HPCORCH_SOCKET
}

# hpcorch_end_server PID: a server beside a program leaves nothing that would have to be saved.
hpcorch_end_server() {
  local code=0
  if kill -KILL "$1" 2>/dev/null; then
    wait "$1" || true
  else
    wait "$1" || code=$?
    printf 'the server ended before the program did, with exit code %d\n' "$code" \
      >>"${HPCORCH_LOG_OF[$1]}"
  fi
  rm -f -- "${HPCORCH_SOCKET_OF[$1]}"
}

# hpcorch_keeper_ends: the keeper's EXIT trap; what it could not start is told to the ranks.
hpcorch_keeper_ends() {
  local pid
  if [[ ! -e $HPCORCH_SHARED/ready ]]; then
    # A full disk still has room for an empty file.
    hpcorch_publish "$HPCORCH_SHARED/failed" "$HPCORCH_REASON" || : >"$HPCORCH_SHARED/failed"
  fi
  hpcorch_await_last_rank
  if declare -F hpcorch_end_workers >/dev/null; then hpcorch_end_workers; fi
  if [[ -n $HPCORCH_CHILD ]]; then hpcorch_remember_server; fi
  for pid in "${!HPCORCH_LOG_OF[@]}"; do hpcorch_end_server "$pid"; done
  rm -rf -- "$HPCORCH_SHARED"
}

# hpcorch_drop_inherited: closes what the rank had open, such as a launcher's socket, by whose end the
# launcher sees that a process is gone.
hpcorch_drop_inherited() {
  local path number
  for path in /proc/self/fd/*; do
    number=${path##*/}
    case $number in
      0 | 1 | 2 | 255 | "$HPCORCH_ALIVE" | "$HPCORCH_IDLE" | "$HPCORCH_OUTER") ;;
      *) exec {number}>&- ;;
    esac
  done
}

# hpcorch_keep: the keeper's whole life.
hpcorch_keep() {
  local domain words
  # Batch systems signal every process of a job: the servers serve until the program has ended.
  trap '' TERM INT HUP USR1 USR2
  if env --block-signal=TERM true 2>/dev/null; then
    HPCORCH_SERVER_ENV=("--block-signal=TERM,INT"
      ${HPCORCH_SERVER_ENV[@]+"${HPCORCH_SERVER_ENV[@]}"})
  fi
  HPCORCH_CHILD="" HPCORCH_REASON="" HPCORCH_SERVERS=()
  declare -gA HPCORCH_LOG_OF=() HPCORCH_SOCKET_OF=()
  trap hpcorch_keeper_ends EXIT
  hpcorch_drop_inherited
  # A lock of its own, not the one of the rank that it comes from.
  exec {HPCORCH_LOCK}<>"$HPCORCH_SHARED/lock"
  hpcorch_remove_leftovers
  HPCORCH_SECRETS=$HPCORCH_SHARED
  if ((${#HPCORCH_DB_CPUS[@]})) && ! command -v taskset >/dev/null; then
    hpcorch_fail "taskset is not on $HPCORCH_NODE: pinning needs it (custom_pinning=[] pins nothing)"
  fi
  hpcorch_node_cpus
  hpcorch_domains
  hpcorch_credentials
  for domain in "${HPCORCH_DOMAINS[@]}"; do
    read -r -a words <<<"$domain"
    hpcorch_start_server "${words[@]}"
  done
  hpcorch_before_ranks
  hpcorch_publish "$HPCORCH_SHARED/ready" "$(printf '%s\n' "${HPCORCH_SERVERS[@]}")"
}
