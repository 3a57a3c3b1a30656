# shellcheck shell=bash
# A server of this node's own, beside the program: private files, private socket, own password.
# Reads: HPCORCH_TRANSPORT HPCORCH_SOCKET_PATH HPCORCH_SOCKET_MODE HPCORCH_INTERFACES HPCORCH_SUFFIX

# hpcorch_choose_socket: the path of the Unix socket, in HPCORCH_SOCKET.
hpcorch_choose_socket() {
  HPCORCH_SOCKET=${HPCORCH_SOCKET_PATH:-$HPCORCH_NODE_DIR/db.socket}
  if ((${#HPCORCH_SOCKET} > 107)); then
    hpcorch_fail "the socket path $HPCORCH_SOCKET is longer than 107 bytes: use a shorter TMPDIR"
  fi
  # The server would take the name away from a living one: the kernel's table tells them apart.
  if grep -qF -- " $HPCORCH_SOCKET" /proc/net/unix; then
    hpcorch_fail "the socket $HPCORCH_SOCKET is in use by another server"
  fi
}

# hpcorch_extra_conf: the Unix socket, as redis.conf lines.
hpcorch_extra_conf() {
  [[ -n $HPCORCH_SOCKET ]] || return 0
  hpcorch_conf_word "$HPCORCH_SOCKET"
  printf 'unixsocket %s\nunixsocketperm %s\n' "$REPLY" "$HPCORCH_SOCKET_MODE"
}

# hpcorch_cleanup: the server ends with the task.
hpcorch_cleanup() {
  local pid
  for pid in "$HPCORCH_CHILD" "$HPCORCH_COLOCATED"; do
    if [[ -n $pid ]] && kill -0 "$pid" 2>/dev/null; then
      kill -TERM "$pid" 2>/dev/null || true
      hpcorch_await "$pid"
    fi
  done
}

# hpcorch_colocated_variables PORT: how the program finds the server; its address in REPLY.
hpcorch_colocated_variables() {
  local address=127.0.0.1:$1
  if [[ $HPCORCH_TRANSPORT == uds ]]; then address=unix://$HPCORCH_SOCKET; fi
  hpcorch_variable SSDB "$HPCORCH_SUFFIX" "$address"
  hpcorch_variable SR_DB_TYPE "$HPCORCH_SUFFIX" Standalone
  if [[ -e $HPCORCH_SECRETS/credentials ]]; then
    hpcorch_variable HPCORCH_CREDENTIALS "$HPCORCH_SUFFIX" "$HPCORCH_SECRETS/credentials"
  fi
  REPLY=$address
}

# hpcorch_colocate: starts the server and waits until it answers; its address in REPLY.
hpcorch_colocate() {
  local port=0 server
  HPCORCH_COLOCATED="" HPCORCH_SOCKET="" HPCORCH_IPS=()
  hpcorch_node_dir
  HPCORCH_SECRETS=$HPCORCH_NODE_DIR
  hpcorch_plan_pinning
  hpcorch_credentials
  if [[ $HPCORCH_TRANSPORT == uds ]]; then hpcorch_choose_socket; fi
  if ((${#HPCORCH_INTERFACES[@]})); then hpcorch_addresses "${HPCORCH_INTERFACES[@]}"; fi
  while :; do
    if ((${#HPCORCH_INTERFACES[@]})); then
      hpcorch_free_port "$((port ? port + HPCORCH_PORT_STEP : HPCORCH_FIRST_PORT))"
      port=$REPLY
    fi
    hpcorch_write_conf "$port"
    hpcorch_launch
    server=$HPCORCH_CHILD
    if hpcorch_await_answer "$port"; then break; fi
    if [[ $port == 0 ]]; then hpcorch_server_died "$server"; fi
  done
  HPCORCH_COLOCATED=$HPCORCH_CHILD
  HPCORCH_CHILD=""
  hpcorch_colocated_variables "$port"
}
