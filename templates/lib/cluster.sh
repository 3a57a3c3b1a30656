# shellcheck shell=bash
# How the shards of a database find each other: files in the run directory, one writer each.
# Reads: HPCORCH_SHARDS HPCORCH_NODE_IDS HPCORCH_SLOTS HPCORCH_DEADLINE_SECONDS

# hpcorch_publish_shard PORT: where this shard listens.
hpcorch_publish_shard() {
  local host
  hpcorch_json "$(uname -n)"
  host=$REPLY
  hpcorch_bus_port "$1"
  hpcorch_publish "$HPCORCH_RUN_DIR/shards/$HPCORCH_INDEX.json" "$(
    printf '{"index":%d,"job":"%s","generation":%d,"host":"%s",' \
      "$HPCORCH_INDEX" "$HPCORCH_JOB" "$HPCORCH_GENERATION" "$host"
    printf '"ip":"%s","port":%d,"bus_port":%d,"pid":%d,"cpus":"%s"}' \
      "${HPCORCH_IPS[0]}" "$1" "$REPLY" "$$" "${HPCORCH_OWN_CPUS-}"
  )"
}

# hpcorch_read_shard INDEX: sets HPCORCH_SHARD_IP/PORT/BUS; fails unless it is of this job.
hpcorch_read_shard() {
  local text=""
  { IFS= read -r text <"$HPCORCH_RUN_DIR/shards/$1.json"; } 2>/dev/null || return 1
  [[ $text == *"\"job\":\"$HPCORCH_JOB\""* ]] || return 1
  [[ $text =~ \"ip\":\"([0-9.]+)\",\"port\":([0-9]+),\"bus_port\":([0-9]+) ]] || return 1
  HPCORCH_SHARD_IP=${BASH_REMATCH[1]}
  HPCORCH_SHARD_PORT=${BASH_REMATCH[2]}
  HPCORCH_SHARD_BUS=${BASH_REMATCH[3]}
}

# hpcorch_sibling_ended: has a shard of this job ended already? Its number in REPLY.
hpcorch_sibling_ended() {
  local file
  for file in "$HPCORCH_RUN_DIR"/exit/*; do
    [[ $file != *.tmp && -e $file ]] || continue
    if grep -qsF "\"job\":\"$HPCORCH_JOB\"" -- "$file"; then
      REPLY=${file##*/}
      return 0
    fi
  done
  return 1
}

# hpcorch_await_all SUFFIX: waits until every shard of this job has published its file.
hpcorch_await_all() {
  local suffix=$1 deadline index=0
  local -a missing
  hpcorch_clock
  deadline=$((REPLY + HPCORCH_DEADLINE_SECONDS * 100))
  while ((index < HPCORCH_SHARDS)); do
    if hpcorch_has_published "$index" "$suffix"; then
      index=$((index + 1))
      continue
    fi
    if hpcorch_sibling_ended; then hpcorch_fail "shard $REPLY ended before the database was ready"; fi
    hpcorch_clock
    if ((REPLY >= deadline)); then
      missing=()
      for (( ; index < HPCORCH_SHARDS; index++)); do
        hpcorch_has_published "$index" "$suffix" || missing+=("$index")
      done
      if [[ $suffix == .json ]]; then suffix="did not start"; else suffix="did not get ready"; fi
      hpcorch_fail "${#missing[@]} of $HPCORCH_SHARDS shards $suffix within" \
        "$HPCORCH_DEADLINE_SECONDS s: ${missing[*]}"
    fi
    hpcorch_pause
  done
}

# hpcorch_has_published INDEX SUFFIX: .json holds an address; other files hold the job's id.
hpcorch_has_published() {
  local job=""
  if [[ $2 == .json ]]; then
    hpcorch_read_shard "$1"
  else
    { IFS= read -r job <"$HPCORCH_RUN_DIR/shards/$1$2"; } 2>/dev/null && [[ $job == "$HPCORCH_JOB" ]]
  fi
}

# hpcorch_write_nodes: the cluster as every shard will see it, so that none has to be told.
hpcorch_write_nodes() {
  local index flags port
  for ((index = 0; index < HPCORCH_SHARDS; index++)); do
    hpcorch_read_shard "$index" || hpcorch_fail "shard $index took back its address"
    flags=master
    if ((index == HPCORCH_INDEX)); then flags=myself,master; fi
    # The bus speaks TLS: this file then names the TLS port, and clients still learn the plain one.
    port=$HPCORCH_SHARD_PORT
    if [[ $HPCORCH_BUS_TLS == 1 && $HPCORCH_DATA_TLS != 1 ]]; then
      port=$((port + HPCORCH_TLS_OFFSET))
    fi
    printf '%s %s:%d@%d %s - 0 0 %d connected %s\n' "${HPCORCH_NODE_IDS[index]}" \
      "$HPCORCH_SHARD_IP" "$port" "$HPCORCH_SHARD_BUS" "$flags" \
      "$((index + 1))" "${HPCORCH_SLOTS[index]}"
  done >"$HPCORCH_NODE_DIR/nodes.conf"
  printf 'vars currentEpoch %d lastVoteEpoch 0\n' "$HPCORCH_SHARDS" >>"$HPCORCH_NODE_DIR/nodes.conf"
}

# hpcorch_await_cluster PORT: waits until this shard sees the whole cluster in order.
hpcorch_await_cluster() {
  local deadline info pause
  # Shards of one node share its CPUs: the more there are, the less often each of them asks.
  pause=$((40 + 2 * HPCORCH_SHARDS))
  pause=$((pause < 200 ? pause : 200))
  hpcorch_clock
  deadline=$((REPLY + HPCORCH_DEADLINE_SECONDS * 100))
  while :; do
    info=""
    if hpcorch_ask "${HPCORCH_IPS[0]}" "$1" CLUSTER INFO; then info=$REPLY; fi
    if [[ $info == *cluster_state:ok* &&
      $info == *cluster_known_nodes:"$HPCORCH_SHARDS"[!0-9]* ]]; then return 0; fi
    kill -0 "$HPCORCH_CHILD" 2>/dev/null || hpcorch_server_died "$HPCORCH_CHILD"
    if hpcorch_sibling_ended; then hpcorch_fail "shard $REPLY ended before the database was ready"; fi
    hpcorch_clock
    ((REPLY < deadline)) || hpcorch_fail "the cluster did not form within" \
      "$HPCORCH_DEADLINE_SECONDS s; are the bus ports open between the nodes? ${info//[$'\r\n']/ }"
    hpcorch_pause "$pause"
  done
}
