# shellcheck shell=bash
# One server process: its configuration, start, readiness and end.
# Reads: HPCORCH_SERVER HPCORCH_SERVER_ENV HPCORCH_MODULES HPCORCH_SECURITY HPCORCH_DATA_TLS
#        HPCORCH_BUS_TLS HPCORCH_CLUSTER HPCORCH_CHOOSES_BUS HPCORCH_PIN_SERVER hpcorch_base_conf

HPCORCH_TLS_OFFSET=5000

# hpcorch_conf_word TEXT: TEXT as one quoted word of redis.conf, in REPLY.
hpcorch_conf_word() {
  REPLY=${1//\\/\\\\}
  REPLY=${REPLY//$'\n'/\\n}
  REPLY=\"${REPLY//\"/\\\"}\"
}

# hpcorch_bus_port PORT: the cluster bus port that goes with a data port, in REPLY.
hpcorch_bus_port() {
  REPLY=$(($1 + 10000))
  if [[ $HPCORCH_BUS_TLS == 1 && $HPCORCH_DATA_TLS != 1 ]]; then
    REPLY=$(($1 + HPCORCH_TLS_OFFSET + 10000))
  fi
}

# hpcorch_tls_conf PORT: TLS on the data port, or on the cluster bus only.
hpcorch_tls_conf() {
  local name tls_port=$1
  if [[ $HPCORCH_DATA_TLS == 1 ]]; then
    printf 'port 0\n'
  else
    printf 'port %d\n' "$1"
    tls_port=$(($1 + HPCORCH_TLS_OFFSET))
  fi
  printf 'tls-port %d\ntls-auth-clients yes\ntls-replication yes\n' "$tls_port"
  for name in ca-cert:ca.crt cert:node.crt key:node.key; do
    hpcorch_conf_word "$HPCORCH_RUN_DIR/tls/${name#*:}"
    printf 'tls-%s-file %s\n' "${name%%:*}" "$REPLY"
  done
  if [[ $HPCORCH_CLUSTER == 1 ]]; then printf 'tls-cluster yes\n'; fi
}

# hpcorch_write_conf PORT: the whole configuration, secrets included, in the private directory.
hpcorch_write_conf() {
  local module
  {
    hpcorch_base_conf
    hpcorch_conf_word "${HPCORCH_DATA_DIR:-$HPCORCH_NODE_DIR}"
    printf 'dir %s\ndbfilename dump.rdb\n' "$REPLY"
    if [[ -n ${HPCORCH_IPS[*]-} ]]; then printf 'bind %s\n' "${HPCORCH_IPS[*]}"; fi
    if [[ $HPCORCH_DATA_TLS == 1 || $HPCORCH_BUS_TLS == 1 ]]; then
      hpcorch_tls_conf "$1"
    else
      printf 'port %d\n' "$1"
    fi
    if [[ $HPCORCH_CLUSTER == 1 ]]; then
      hpcorch_conf_word "$HPCORCH_NODE_DIR/nodes.conf"
      printf 'cluster-enabled yes\ncluster-config-file %s\n' "$REPLY"
      printf 'cluster-announce-ip %s\n' "${HPCORCH_IPS[0]}"
    else
      printf 'cluster-enabled no\n'
    fi
    for module in ${HPCORCH_MODULES[@]+"${HPCORCH_MODULES[@]}"}; do
      hpcorch_conf_word "$module"
      printf 'loadmodule %s\n' "$REPLY"
    done
    if declare -F hpcorch_extra_conf >/dev/null; then hpcorch_extra_conf; fi
    hpcorch_acl
  } >"$HPCORCH_NODE_DIR/server.conf"
}

# hpcorch_launch: starts the server in the background; its process id in HPCORCH_CHILD. It reads its
# configuration from standard input: the name of a file is a pattern to servers, and directories
# that PBS makes for the tasks of an array have brackets in their names.
hpcorch_launch() {
  HPCORCH_SERVER_LOG=$HPCORCH_RUN_DIR/logs/$HPCORCH_NAME.$HPCORCH_INDEX${HPCORCH_LOG_TAG-}.log
  hpcorch_shield "$HPCORCH_SERVER"
  (
    cd -- "$HPCORCH_NODE_DIR" || exit 1
    exec ${HPCORCH_PIN_SERVER[@]+"${HPCORCH_PIN_SERVER[@]}"} \
      env ${HPCORCH_SERVER_ENV[@]+"${HPCORCH_SERVER_ENV[@]}"} \
      ${HPCORCH_SHIELD[@]+"${HPCORCH_SHIELD[@]}"} "$HPCORCH_SERVER" -
  ) <"$HPCORCH_NODE_DIR/server.conf" >"$HPCORCH_SERVER_LOG" 2>&1 \
    {HPCORCH_OUTER}>&- {HPCORCH_IDLE}>&- &
  HPCORCH_CHILD=$!
}

# hpcorch_server_died: ends the task with how the server ended and what it said last.
hpcorch_server_died() {
  local lines=() text code=0
  wait "$1" || code=$?
  mapfile -t lines < <(tail -n 5 -- "$HPCORCH_SERVER_LOG")
  printf '%s\n' ${lines[@]+"${lines[@]}"} >&2
  text=$(printf ' | %s' ${lines[@]+"${lines[@]}"})
  hpcorch_fail "the server ended while starting${HPCORCH_STARTS_FROM:+ from $HPCORCH_STARTS_FROM}," \
    "with exit code $code${text:+; its last words:}" \
    "${text# | }"
}

# hpcorch_answers PORT: has the server that was launched, and no other, begun to answer?
hpcorch_answers() {
  if [[ ${HPCORCH_SOCKET-} != "" ]]; then
    [[ -S $HPCORCH_SOCKET ]] &&
      grep -qE 'eady to accept connections|Thread 0 alive' -- "$HPCORCH_SERVER_LOG"
  else
    hpcorch_ask "${HPCORCH_IPS[0]}" "$1" INFO server &&
      [[ $REPLY == *process_id:"$HPCORCH_CHILD"[!0-9]* ]]
  fi
}

# hpcorch_await_answer PORT: returns 1 if the port was taken by somebody else meanwhile.
hpcorch_await_answer() {
  local deadline pause=10 child
  hpcorch_clock
  deadline=$((REPLY + HPCORCH_BOOT_SECONDS * 100))
  until hpcorch_answers "$1"; do
    if ! kill -0 "$HPCORCH_CHILD" 2>/dev/null; then
      child=$HPCORCH_CHILD
      HPCORCH_CHILD=""
      if grep -qi 'address already in use' -- "$HPCORCH_SERVER_LOG"; then return 1; fi
      hpcorch_server_died "$child"
    fi
    hpcorch_clock
    ((REPLY < deadline)) || hpcorch_fail "the server did not answer within $HPCORCH_BOOT_SECONDS s"
    # A server answers within milliseconds, unless the node is busy: then asking is no help.
    hpcorch_pause "$pause"
    pause=$((pause < 160 ? pause * 2 : pause))
  done
}

# hpcorch_free_port FIRST: the first port from FIRST on, by steps, that nobody uses; in REPLY.
hpcorch_free_port() {
  local port=$1 bus
  for (( ; port <= HPCORCH_LAST_PORT; port += HPCORCH_PORT_STEP)); do
    hpcorch_port_busy "$port" && continue
    if [[ $HPCORCH_CLUSTER == 1 ]]; then
      hpcorch_bus_port "$port"
      bus=$REPLY
      hpcorch_port_busy "$bus" && continue
    fi
    REPLY=$port
    return 0
  done
  hpcorch_fail "no free port from $1 to $HPCORCH_LAST_PORT on ${HPCORCH_IPS[0]}"
}
