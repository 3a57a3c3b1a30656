# shellcheck shell=bash
# Shards of a standard database, each on CPUs of its own.
# Reads: HPCORCH_SHARD_CPUS (one word for each shard of a host: its numbers inside the allowed CPUs)
#        HPCORCH_PLACE (which of its host's shards this is)

# hpcorch_pin_shard: the words before the server's own, in HPCORCH_PIN_SERVER; which CPUs that are, as
# others will read it, in HPCORCH_OWN_CPUS.
hpcorch_pin_shard() {
  hpcorch_cpus_of self
  ((HPCORCH_PLACE < ${#HPCORCH_SHARD_CPUS[@]})) || hpcorch_fail "this is shard number" \
    "$((HPCORCH_PLACE + 1)) on $(uname -n), which has CPUs for ${#HPCORCH_SHARD_CPUS[@]} (shards_per_host)"
  read -r -a HPCORCH_DB_CPUS <<<"${HPCORCH_SHARD_CPUS[HPCORCH_PLACE]}"
  hpcorch_pin_server "${HPCORCH_NUMBERS[@]}"
  hpcorch_join "${HPCORCH_SERVER_CPUS[@]}"
  HPCORCH_OWN_CPUS=$REPLY
}

# hpcorch_refuse_shared_cpus: ends the task if a shard of lower number has one of its CPUs: a batch
# system that was not asked for whole nodes may put two elements of an array on one.
hpcorch_refuse_shared_cpus() {
  local index host text
  hpcorch_json "$(uname -n)"
  host=$REPLY
  for ((index = 0; index < HPCORCH_INDEX; index++)); do
    { IFS= read -r text <"$HPCORCH_RUN_DIR/shards/$index.json"; } 2>/dev/null || continue
    [[ $text == *"\"host\":\"$host\""* && $text =~ \"cpus\":\"([0-9,]+)\" ]] || continue
    hpcorch_expand "${BASH_REMATCH[1]}"
    hpcorch_common "${HPCORCH_SERVER_CPUS[@]}" -- "${HPCORCH_NUMBERS[@]}"
    hpcorch_join ${HPCORCH_NUMBERS[@]+"${HPCORCH_NUMBERS[@]}"}
    [[ -z $REPLY ]] || hpcorch_fail "shard $index has CPU $REPLY of $(uname -n) too:" \
      "the batch system put both on one node"
  done
}
