# shellcheck shell=bash
# One shard of a standard database, from its first port to its last record.

# hpcorch_start_shard: starts the server on a free port, in HPCORCH_PORT, and waits for its answer.
hpcorch_start_shard() {
  HPCORCH_PORT=$((HPCORCH_FIRST_PORT + HPCORCH_INDEX % HPCORCH_PORT_STEP))
  while :; do
    hpcorch_free_port "$HPCORCH_PORT"
    HPCORCH_PORT=$REPLY
    hpcorch_publish_shard "$HPCORCH_PORT"
    if [[ $HPCORCH_CLUSTER == 1 ]]; then
      hpcorch_await_all .json
      if ((${#HPCORCH_SHARD_CPUS[@]})); then hpcorch_refuse_shared_cpus; fi
      hpcorch_write_nodes
    fi
    hpcorch_write_conf "$HPCORCH_PORT"
    hpcorch_launch
    if hpcorch_await_answer "$HPCORCH_PORT"; then break; fi
    # Siblings know the lost port; they learn the next one from the first message of this shard.
    hpcorch_say "port $HPCORCH_PORT was taken meanwhile, trying the next one"
    HPCORCH_PORT=$((HPCORCH_PORT + HPCORCH_PORT_STEP))
  done
  hpcorch_await_loaded "$HPCORCH_PORT"
}

HPCORCH_TYPES=(Standalone Clustered)

# hpcorch_publish_address: how to connect, for programs (address.json) and shells (address.env).
hpcorch_publish_address() {
  local index ssdb="" list="" type=${HPCORCH_TYPES[HPCORCH_CLUSTER]} credentials=null
  local alias=${HPCORCH_SUFFIX//[!A-Za-z0-9_]/_}
  local -a lines
  for ((index = 0; index < HPCORCH_SHARDS; index++)); do
    hpcorch_read_shard "$index" || hpcorch_fail "shard $index took back its address"
    ssdb+=,$HPCORCH_SHARD_IP:$HPCORCH_SHARD_PORT
    list+=,\"$HPCORCH_SHARD_IP:$HPCORCH_SHARD_PORT\"
  done
  lines=("# source this file to let programs find the database $HPCORCH_IDENTIFIER"
    "export SSDB$alias=${ssdb#,}" "export SR_DB_TYPE$alias=$type")
  if [[ -e $HPCORCH_SECRETS/credentials ]]; then
    hpcorch_json "$HPCORCH_SECRETS/credentials"
    credentials=\"$REPLY\"
    lines+=("export HPCORCH_CREDENTIALS$alias=$(printf %q "$HPCORCH_SECRETS/credentials")")
  fi
  hpcorch_publish "$HPCORCH_RUN_DIR/address.json" "$(
    printf '{"version":1,"identifier":"%s","job":"%s","type":"%s","ssdb":"%s","addresses":[%s],' \
      "$HPCORCH_IDENTIFIER" "$HPCORCH_JOB" "$type" "${ssdb#,}" "${list#,}"
    printf '"credentials":%s,"security":"%s"}' "$credentials" "$HPCORCH_SECURITY"
  )"
  hpcorch_publish "$HPCORCH_RUN_DIR/address.env" "$(printf '%s\n' "${lines[@]}")"
  hpcorch_announce "ready: ${ssdb#,}; to connect: source $(printf %q "$HPCORCH_RUN_DIR/address.env")"
}

# hpcorch_cleanup: a database that lost a shard takes its address back.
hpcorch_cleanup() {
  # In this order: who publishes the address just now looks afterwards if all are still ready.
  rm -f -- "$HPCORCH_RUN_DIR/shards/$HPCORCH_INDEX.ready" "$HPCORCH_RUN_DIR"/address.{env,json}
  if [[ -n $HPCORCH_CHILD ]] && kill -0 "$HPCORCH_CHILD" 2>/dev/null; then
    kill -TERM "$HPCORCH_CHILD" 2>/dev/null || true
    HPCORCH_SIGNAL=${HPCORCH_SIGNAL:-EXIT} hpcorch_await_server "$HPCORCH_CHILD"
  fi
  hpcorch_checkpoint_end
}

# hpcorch_await_server PID: waits for its end; its exit code in REPLY. A server that was told to save
# and cannot stays: it is then killed, and its last words are in HPCORCH_UNSAVED.
hpcorch_await_server() {
  local looked=0 line
  HPCORCH_UNSAVED=""
  # A signal ends this wait; without one, the server has ended by itself.
  wait "$1" || true
  while kill -0 "$1" 2>/dev/null; do
    hpcorch_pause 100
    # An earlier request may have failed: it gets a second to say that it saves now.
    if [[ -z $HPCORCH_SIGNAL ]] || ((++looked < 10)); then continue; fi
    line=$(tail -n 4 -- "$HPCORCH_SERVER_LOG" | grep -F -B 1 "can't exit") || continue
    HPCORCH_UNSAVED=${line%%$'\n'*}
    kill -KILL "$1" 2>/dev/null || true
  done
  hpcorch_await "$1"
}

# hpcorch_tell_end CODE: why the server has ended, in HPCORCH_REASON, and the task's exit code.
hpcorch_tell_end() {
  HPCORCH_CODE=$1
  if [[ -n $HPCORCH_UNSAVED ]]; then
    # It is this failure, and not the signal, that the record shall tell.
    HPCORCH_SIGNAL="" HPCORCH_CODE=74
    HPCORCH_REASON="the data could not be saved: ${HPCORCH_UNSAVED#*# }"
  elif (($1 != 0)); then
    tail -n 5 -- "$HPCORCH_SERVER_LOG" >&2
    HPCORCH_REASON="the server ended with exit code $1"
  elif [[ $HPCORCH_SIGNAL == USR1 ]]; then
    HPCORCH_REASON="its time was about to end; nothing was saved"
    if [[ -e $HPCORCH_DATA_DIR/dump.rdb ]]; then
      HPCORCH_REASON="its time was about to end; the data was saved in $HPCORCH_DATA_DIR"
    fi
  fi
}

# hpcorch_run_shard: the whole life of a shard; its server's exit code becomes the task's.
hpcorch_run_shard() {
  # One that is there is of a run that could not take it back, or of this task's earlier life.
  rm -f -- "$HPCORCH_RUN_DIR"/address.env "$HPCORCH_RUN_DIR"/address.json
  hpcorch_node_dir
  hpcorch_addresses "${HPCORCH_INTERFACES[@]}"
  hpcorch_credentials
  hpcorch_checkpoint_begin
  if ((${#HPCORCH_SHARD_CPUS[@]})); then hpcorch_pin_shard; fi
  hpcorch_start_shard
  if [[ $HPCORCH_CLUSTER == 1 ]]; then hpcorch_await_cluster "$HPCORCH_PORT"; fi
  if declare -F hpcorch_start_workers >/dev/null; then
    hpcorch_start_workers "${HPCORCH_IPS[0]}" "${HPCORCH_IPS[0]}:$HPCORCH_PORT" \
      "${HPCORCH_TYPES[HPCORCH_CLUSTER]}"
  fi
  hpcorch_publish "$HPCORCH_RUN_DIR/shards/$HPCORCH_INDEX.ready" "$HPCORCH_JOB"
  # A task that begins again has taken the address back when it ended, so it publishes it too.
  if ((HPCORCH_INDEX == 0 || HPCORCH_GENERATION > 0)); then
    hpcorch_await_all .ready
    if declare -F hpcorch_load_models >/dev/null; then hpcorch_load_models; fi
    hpcorch_publish_address
    # One that has ended meanwhile found no address to take back.
    hpcorch_await_all .ready
  fi
  hpcorch_await_server "$HPCORCH_CHILD"
  HPCORCH_CHILD=""
  hpcorch_tell_end "$REPLY"
}
