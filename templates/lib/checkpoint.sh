# shellcheck shell=bash
# What a database keeps when it was asked to: a set of files, one for each shard. A run writes a set
# of its own, and the one that it follows is removed when the new one is whole.
# Reads: HPCORCH_RUN_DIR HPCORCH_JOB HPCORCH_TOKEN HPCORCH_INDEX HPCORCH_SHARDS HPCORCH_IDENTIFIER
#        HPCORCH_GENERATION HPCORCH_RESTORE

# hpcorch_checkpoint_begin: makes the directory that the server saves to, in HPCORCH_DATA_DIR, and
# puts there what the shard starts from.
hpcorch_checkpoint_begin() {
  local name=${HPCORCH_JOB//[!A-Za-z0-9]/-}-$HPCORCH_TOKEN other followed=""
  HPCORCH_SET=$HPCORCH_RUN_DIR/checkpoint/$name
  HPCORCH_DATA_DIR=$HPCORCH_SET/$HPCORCH_INDEX
  # Only a task that begins again may find files of its own there.
  if ((HPCORCH_GENERATION == 0)); then rm -rf -- "$HPCORCH_DATA_DIR"; fi
  if ((HPCORCH_INDEX == 0)) && [[ ! -e $HPCORCH_SET/set.json ]]; then
    for other in "$HPCORCH_RUN_DIR"/checkpoint/*/; do
      other=${other%/}
      other=${other##*/}
      if [[ $other != "$name" && $other != "*" ]]; then followed+=,\"$other\"; fi
    done
    mkdir -p -- "$HPCORCH_SET"
    hpcorch_publish "$HPCORCH_SET/set.json" "$(
      printf '{"version":1,"identifier":"%s","job":"%s","shards":%d,"follows":[%s]}' \
        "$HPCORCH_IDENTIFIER" "$HPCORCH_JOB" "$HPCORCH_SHARDS" "${followed#,}"
    )"
  fi
  mkdir -p -- "$HPCORCH_DATA_DIR"
  if [[ -n $HPCORCH_RESTORE && ! -e $HPCORCH_DATA_DIR/dump.rdb ]]; then hpcorch_restore; fi
}

# hpcorch_restore: lets the server find the shard's file of the newest checkpoint.
hpcorch_restore() {
  hpcorch_newest_set "$HPCORCH_RESTORE" || hpcorch_fail "there is no whole checkpoint of" \
    "$HPCORCH_SHARDS shard(s) in $HPCORCH_RESTORE"
  HPCORCH_STARTS_FROM=$REPLY/$HPCORCH_INDEX/dump.rdb
  hpcorch_say "starting from $HPCORCH_STARTS_FROM"
  ln -sfn -- "$HPCORCH_STARTS_FROM" "$HPCORCH_DATA_DIR/dump.rdb"
}

# hpcorch_is_whole SET: does it hold a file of each shard of a database of this size?
hpcorch_is_whole() {
  local index
  grep -qsF "\"shards\":$HPCORCH_SHARDS," -- "$1/set.json" || return 1
  for ((index = 0; index < HPCORCH_SHARDS; index++)); do
    # A link is what a shard has started from, not what it has saved.
    [[ -f $1/$index/dump.rdb && ! -L $1/$index/dump.rdb ]] || return 1
  done
}

# hpcorch_newest_set DIRECTORY: the whole set there that no other whole one follows, in REPLY. Every
# shard comes to the same answer, and no clock is asked.
hpcorch_newest_set() {
  local set other
  for set in "$1"/*/; do
    set=${set%/}
    hpcorch_is_whole "$set" || continue
    for other in "$1"/*/; do
      if hpcorch_is_whole "${other%/}" && hpcorch_follows "${other%/}" "$set"; then continue 2; fi
    done
    REPLY=$set
    return 0
  done
  return 1
}

# hpcorch_follows SET OTHER: was the other one there when this one was begun?
hpcorch_follows() { grep -qsF "\"${2##*/}\"" -- "$1/set.json"; }

# hpcorch_await_loaded PORT: waits until the server has read the file that it started from.
hpcorch_await_loaded() {
  [[ -e $HPCORCH_DATA_DIR/dump.rdb ]] || return 0
  until hpcorch_ask "${HPCORCH_IPS[0]}" "$1" INFO persistence && [[ $REPLY == *$'\n'loading:0* ]]; do
    kill -0 "$HPCORCH_CHILD" 2>/dev/null || hpcorch_server_died "$HPCORCH_CHILD"
    hpcorch_pause 100
  done
  hpcorch_drop_link
}

# hpcorch_drop_link: what is there from now on is what this run has saved itself.
hpcorch_drop_link() {
  if [[ -L $HPCORCH_DATA_DIR/dump.rdb ]]; then rm -f -- "$HPCORCH_DATA_DIR/dump.rdb"; fi
}

# hpcorch_checkpoint_end: once the server has ended, only whole files are left, and of two whole sets
# only the newer one.
hpcorch_checkpoint_end() {
  local set
  [[ -n ${HPCORCH_DATA_DIR-} ]] || return 0
  hpcorch_drop_link
  if [[ -e $HPCORCH_DATA_DIR/dump.rdb ]]; then
    rm -f -- "$HPCORCH_DATA_DIR"/temp-*.rdb
    hpcorch_say "the last checkpoint of this shard is $HPCORCH_DATA_DIR/dump.rdb"
    hpcorch_is_whole "$HPCORCH_SET" || return 0
    for set in "$HPCORCH_RUN_DIR"/checkpoint/*/; do
      if hpcorch_follows "$HPCORCH_SET" "${set%/}"; then rm -rf -- "$set"; fi
    done
  else
    rm -rf -- "$HPCORCH_DATA_DIR"
    # The last shard to end without a checkpoint leaves no trace of the set.
    for set in "$HPCORCH_SET"/*/; do [[ ! -e $set ]] || return 0; done
    rm -rf -- "$HPCORCH_SET"
    rm -d -- "$HPCORCH_RUN_DIR/checkpoint" 2>/dev/null || true
  fi
}
