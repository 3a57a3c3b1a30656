# shellcheck shell=bash
# Shards of a standard database, each on CPUs of its own.
# Reads: HPCORCH_SHARD_CPUS (one word for each shard of a host: its numbers inside the allowed CPUs)

# hpcorch_place_on_host: how many shards of lower number are on this shard's host, in REPLY.
hpcorch_place_on_host() {
  local index place=0
  for ((index = 0; index < HPCORCH_INDEX; index++)); do
    hpcorch_read_shard "$index" || hpcorch_fail "shard $index took back its address"
    if [[ $HPCORCH_SHARD_IP == "${HPCORCH_IPS[0]}" ]]; then place=$((place + 1)); fi
  done
  REPLY=$place
}

# hpcorch_pin_shard: the words before the server's own, in HPCORCH_PIN_SERVER.
hpcorch_pin_shard() {
  local place
  hpcorch_place_on_host
  place=$REPLY
  hpcorch_cpus_of self
  ((place < ${#HPCORCH_SHARD_CPUS[@]})) || hpcorch_fail "this is shard number $((place + 1)) on" \
    "$(uname -n), which has CPUs for ${#HPCORCH_SHARD_CPUS[@]} (shards_per_host)"
  read -r -a HPCORCH_DB_CPUS <<<"${HPCORCH_SHARD_CPUS[place]}"
  hpcorch_pin_server "${HPCORCH_NUMBERS[@]}"
}
