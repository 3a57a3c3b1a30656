# shellcheck shell=bash
# The processes of a program (its ranks) with a server of their own beside them on each node: the
# first rank there has it started, all wait until it answers, the last one out sees it gone.
# Reads: HPCORCH_STRICT HPCORCH_LAUNCHER_WORDS HPCORCH_PROGRAM HPCORCH_PROGRAM_ENV HPCORCH_SUFFIX
#        HPCORCH_LIMIT_APP HPCORCH_ALL_GET_TERM

# hpcorch_prepare_ranks: writes the script that the launcher starts for each process. It holds all
# that this task knows, since launchers pass on neither every variable nor every argument.
hpcorch_prepare_ranks() {
  local file=$HPCORCH_RUN_DIR/shards/$HPCORCH_INDEX.rank launcher=$HPCORCH_LAUNCHER_WORDS
  rm -f -- "$HPCORCH_RUN_DIR/shards/$HPCORCH_INDEX.failed"
  HPCORCH_LAUNCHER=""
  if ((launcher)); then HPCORCH_LAUNCHER=${HPCORCH_PROGRAM[0]##*/}; fi
  HPCORCH_COMMAND=("${HPCORCH_PROGRAM[@]:0:launcher}" /bin/bash "$file")
  HPCORCH_RUN_NAME=$(od -An -v -tx1 -N6 /dev/urandom)
  HPCORCH_RUN_NAME=hpcorch.${HPCORCH_RUN_NAME//[^0-9a-f]/}
  hpcorch_tmpdir
  HPCORCH_TMPDIR=$REPLY
  HPCORCH_RANK_PROGRAM=("${HPCORCH_PROGRAM[@]:launcher}")
  hpcorch_publish "$file" "$(
    printf '%s\n' "$HPCORCH_STRICT"
    declare -f
    declare -p "${!HPCORCH_@}"
    printf 'hpcorch_rank\n'
  )"
}

# hpcorch_find_shared: this run's private directory on this node, in HPCORCH_SHARED; nobody else knows
# its name before it is there on some node.
hpcorch_find_shared() {
  hpcorch_node_name
  if [[ ! -d $HPCORCH_TMPDIR || ! -w $HPCORCH_TMPDIR ]]; then HPCORCH_TMPDIR=/tmp; fi
  HPCORCH_SHARED=$HPCORCH_TMPDIR/$HPCORCH_RUN_NAME.$HPCORCH_NODE
}

# hpcorch_remove_leftovers: what jobs left on this node that ended with all their processes at once.
hpcorch_remove_leftovers() {
  local home
  for home in "$HPCORCH_TMPDIR"/hpcorch.[0-9a-f]*."$HPCORCH_NODE"; do
    if [[ -O $home && -e $home/alive ]]; then
      flock --nonblock "$home/alive" rm -rf -- "$home" || true
    fi
  done
}

# hpcorch_refuse_planted: ends this process if somebody else has made that directory: what they say in
# there would lead the program to a server of theirs.
hpcorch_refuse_planted() {
  if [[ -L $HPCORCH_SHARED ]] || [[ -e $HPCORCH_SHARED && ! -O $HPCORCH_SHARED ]]; then
    hpcorch_fail "$HPCORCH_SHARED on $HPCORCH_NODE was made by somebody else"
  fi
}

# hpcorch_join_node: takes part in this node's server until this process ends, however it ends. The
# one rank that can make the directory starts the keeper.
hpcorch_join_node() {
  local deadline made=0 mine
  command -v flock >/dev/null || hpcorch_fail "flock (of util-linux) is not on $HPCORCH_NODE"
  if mkdir -- "$HPCORCH_SHARED" 2>/dev/null; then
    made=1
    mkdir -- "$HPCORCH_SHARED/ranks"
    exec {HPCORCH_ALIVE}<>"$HPCORCH_SHARED/alive.new" {HPCORCH_LOCK}<>"$HPCORCH_SHARED/lock.new"
    if ! { flock --exclusive "$HPCORCH_ALIVE" && flock --shared "$HPCORCH_LOCK"; }; then
      rm -rf -- "$HPCORCH_SHARED"
      hpcorch_fail "files in $HPCORCH_TMPDIR cannot be locked: let TMPDIR name a local directory"
    fi
    mv -- "$HPCORCH_SHARED/alive.new" "$HPCORCH_SHARED/alive"
    mv -- "$HPCORCH_SHARED/lock.new" "$HPCORCH_SHARED/lock"
  else
    hpcorch_refuse_planted
    hpcorch_clock
    deadline=$((REPLY + HPCORCH_BOOT_SECONDS * 100))
    until [[ -e $HPCORCH_SHARED/lock ]]; do
      hpcorch_clock
      if [[ ! -d $HPCORCH_SHARED ]] || ((REPLY >= deadline)); then
        hpcorch_fail "the directory $HPCORCH_SHARED cannot be made on $HPCORCH_NODE"
      fi
      hpcorch_pause 10
    done
    exec {HPCORCH_LOCK}<>"$HPCORCH_SHARED/lock"
    flock --shared "$HPCORCH_LOCK"
    [[ -e $HPCORCH_SHARED/lock ]] || hpcorch_fail "this process came after the others had ended"
  fi
  hpcorch_cpus_of self
  mine=$HPCORCH_SHARED/ranks/$$
  if ! { printf '%s\n' "${HPCORCH_NUMBERS[*]}" >"$HPCORCH_SHARED/ranks/.$$" &&
    mv -- "$HPCORCH_SHARED/ranks/.$$" "$mine"; }; then
    # Without this process there is no keeper that would remove it.
    if ((made)); then rm -rf -- "$HPCORCH_SHARED"; fi
    hpcorch_fail "nothing can be written in $HPCORCH_TMPDIR: is it full? TMPDIR may name another"
  fi
  if ((made)); then hpcorch_start_keeper; fi
}

# hpcorch_start_keeper: in a process group of its own, so that a launcher's signals miss it, but in
# this session, so that the batch system finds it. It is no child of this shell: bash may wait for
# any child when it has lost the end of the program to a signal.
hpcorch_start_keeper() {
  (
    set -m
    (
      set +m
      hpcorch_keep
    ) </dev/null >/dev/null 2>&1 &
  )
  exec {HPCORCH_ALIVE}>&-
}

# hpcorch_await_keeper: waits for this node's servers; their lines in HPCORCH_SERVERS.
hpcorch_await_keeper() {
  local deadline keeper reason
  hpcorch_clock
  deadline=$((REPLY + HPCORCH_BOOT_SECONDS * 200))
  until [[ -e $HPCORCH_SHARED/ready ]]; do
    if [[ -e $HPCORCH_SHARED/failed ]]; then
      reason=$(<"$HPCORCH_SHARED/failed")
      hpcorch_fail "${reason:-the keeper of the server has failed: is $HPCORCH_TMPDIR full?}"
    fi
    [[ -d $HPCORCH_SHARED ]] ||
      hpcorch_fail "the first process here could not write in $HPCORCH_TMPDIR: is it full?"
    hpcorch_clock
    # It has servers that answer, and loads models into them.
    if { read -r keeper <"$HPCORCH_SHARED/loading" && kill -0 "$keeper"; } 2>/dev/null; then
      deadline=$((REPLY + HPCORCH_BOOT_SECONDS * 100))
    fi
    ((REPLY < deadline)) || hpcorch_fail "the server on $HPCORCH_NODE was not started in time"
    hpcorch_pause 20
  done
  mapfile -t HPCORCH_SERVERS <"$HPCORCH_SHARED/ready"
}

# hpcorch_choose_server: the nearest of this node's servers, for a rank that is bound to CPUs of one
# of them; the others are spread evenly. Its CPUs in HPCORCH_TAKEN, all near it in HPCORCH_NEAR.
hpcorch_choose_server() {
  local line domain taken near address chosen="" count=${#HPCORCH_SERVERS[@]}
  hpcorch_cpus_of self
  HPCORCH_MINE=("${HPCORCH_NUMBERS[@]}")
  for line in "${HPCORCH_SERVERS[@]}"; do
    read -r domain taken near address <<<"$line"
    hpcorch_expand "$near"
    hpcorch_common "${HPCORCH_MINE[@]}" -- "${HPCORCH_NUMBERS[@]}"
    if ((${#HPCORCH_OTHERS[@]} == 0)); then chosen=$line; fi
  done
  if [[ -z $chosen ]]; then
    chosen=${HPCORCH_SERVERS[HPCORCH_LOCAL_RANK * count / HPCORCH_LOCAL_SIZE % count]}
  fi
  read -r domain taken near address <<<"$chosen"
  hpcorch_expand "$near"
  HPCORCH_NEAR=("${HPCORCH_NUMBERS[@]}")
  hpcorch_expand "${taken#-}"
  HPCORCH_TAKEN=(${HPCORCH_NUMBERS[@]+"${HPCORCH_NUMBERS[@]}"})
  hpcorch_variable SSDB "$HPCORCH_SUFFIX" "$address"
  hpcorch_variable SR_DB_TYPE "$HPCORCH_SUFFIX" Standalone
  if [[ -e $HPCORCH_SHARED/credentials ]]; then
    hpcorch_variable HPCORCH_CREDENTIALS "$HPCORCH_SUFFIX" "$HPCORCH_SHARED/credentials"
  fi
}

# hpcorch_pin_rank: the words before the program's own, in HPCORCH_PIN_APP: it keeps its CPUs but
# those of the server, and gets others near by when it was bound to just those.
hpcorch_pin_rank() {
  local wanted=("${HPCORCH_MINE[@]}")
  HPCORCH_PIN_APP=()
  if ((${#HPCORCH_SERVERS[@]} > 1)); then
    hpcorch_common "${HPCORCH_MINE[@]}" -- "${HPCORCH_NEAR[@]}"
    wanted=("${HPCORCH_NEAR[@]}")
    if ((${#HPCORCH_NUMBERS[@]})); then wanted=("${HPCORCH_NUMBERS[@]}"); fi
  fi
  if [[ $HPCORCH_LIMIT_APP == 1 ]] && ((${#HPCORCH_TAKEN[@]})); then
    hpcorch_common "${wanted[@]}" -- "${HPCORCH_TAKEN[@]}"
    if ((${#HPCORCH_OTHERS[@]} == 0)); then
      hpcorch_common "${HPCORCH_NEAR[@]}" -- "${HPCORCH_TAKEN[@]}"
    fi
    if ((${#HPCORCH_OTHERS[@]})); then
      wanted=("${HPCORCH_OTHERS[@]}")
    else
      hpcorch_say "the database has all CPUs of this task: the program shares them" >&2
    fi
  fi
  hpcorch_join "${wanted[@]}"
  if [[ ${wanted[*]} != "${HPCORCH_MINE[*]}" ]]; then HPCORCH_PIN_APP=(taskset -c "$REPLY"); fi
}

# hpcorch_rank_ends: a rank's EXIT trap. The last one of its node waits until the keeper is gone,
# since batch systems kill what is left when the last process has ended.
hpcorch_rank_ends() {
  local code=$? deadline came=()
  trap '' TERM INT HUP USR1 USR2
  if [[ -n $HPCORCH_REASON ]]; then
    hpcorch_report_failure
  fi
  if [[ -n $HPCORCH_LOCK ]]; then
    came=("$HPCORCH_SHARED/ranks/"*)
    if flock --nonblock --exclusive "$HPCORCH_LOCK" && ((${#came[@]} >= HPCORCH_LOCAL_SIZE)); then
      exec {HPCORCH_LOCK}>&-
      hpcorch_await_no_shared
    fi
  fi
  exit "$code"
}

# hpcorch_report_failure: the reason, for the task's exit record; one rank's is as good as another's.
hpcorch_report_failure() {
  local file=$HPCORCH_RUN_DIR/shards/$HPCORCH_INDEX.failed
  printf '%s on %s\n' "$HPCORCH_REASON" "$HPCORCH_NODE" >"$file.$HPCORCH_NODE.$$"
  mv -f -- "$file.$HPCORCH_NODE.$$" "$file"
}

# hpcorch_await_no_shared: waits until the keeper has removed this run's directory.
hpcorch_await_no_shared() {
  local deadline
  hpcorch_clock
  deadline=$((REPLY + 3000))
  while [[ -e $HPCORCH_SHARED ]]; do
    hpcorch_clock
    ((REPLY < deadline)) || return 0
    hpcorch_pause 10
  done
}

# hpcorch_rank_signal NAME CODE: a launcher signals a rank's whole process group, so the program has
# got it already; without a launcher only this process is told, or the whole job by SIGTERM.
hpcorch_rank_signal() {
  if [[ -z $HPCORCH_CHILD ]]; then exit "$2"; fi
  if [[ -n $HPCORCH_LAUNCHER || ($1 == TERM && $HPCORCH_ALL_GET_TERM == 1) ]]; then return 0; fi
  kill -s "$1" "$HPCORCH_CHILD" 2>/dev/null || true
}

# hpcorch_rank: the whole life of a rank; its exit code is the program's.
hpcorch_rank() {
  umask 077
  HPCORCH_CHILD="" HPCORCH_REASON="" HPCORCH_LOCK="" HPCORCH_STARTER_PID=$PPID
  # Not by numbers of our own: launchers hand sockets over whose numbers the program will look for.
  exec {HPCORCH_OUTER}>/dev/null {HPCORCH_IDLE}<> <(:)
  trap hpcorch_rank_ends EXIT
  trap 'hpcorch_rank_signal TERM 143' TERM
  trap 'hpcorch_rank_signal INT 130' INT
  trap 'hpcorch_rank_signal HUP 129' HUP
  trap 'hpcorch_rank_signal USR1 138' USR1
  trap 'hpcorch_rank_signal USR2 140' USR2
  hpcorch_find_shared
  hpcorch_count_ranks
  hpcorch_join_node
  hpcorch_await_keeper
  hpcorch_choose_server
  hpcorch_pin_rank
  # Only now is all known that a container must let through: this node's directory and its server.
  if declare -F hpcorch_enter_container >/dev/null; then hpcorch_enter_container; fi
  hpcorch_shield "${HPCORCH_RANK_PROGRAM[0]}"
  hpcorch_exec ${HPCORCH_PIN_APP[@]+"${HPCORCH_PIN_APP[@]}"} env -- \
    ${HPCORCH_PROGRAM_ENV[@]+"${HPCORCH_PROGRAM_ENV[@]}"} \
    ${HPCORCH_SHIELD[@]+"${HPCORCH_SHIELD[@]}"} "${HPCORCH_RANK_PROGRAM[@]}" \
    <&0 {HPCORCH_OUTER}>&- {HPCORCH_IDLE}>&- {HPCORCH_LOCK}>&- &
  HPCORCH_CHILD=$!
  hpcorch_await "$HPCORCH_CHILD"
  exit "$REPLY"
}

# hpcorch_cleanup: what the task does at its end, after the launcher's.
hpcorch_cleanup() {
  local tries=0
  [[ -n ${HPCORCH_RUN_NAME-} ]] || return 0
  if [[ -n $HPCORCH_CHILD ]] && kill -0 "$HPCORCH_CHILD" 2>/dev/null; then
    kill -TERM "$HPCORCH_CHILD" 2>/dev/null || true
    hpcorch_await "$HPCORCH_CHILD"
  fi
  hpcorch_find_shared
  # No process will come any more.
  { : >"$HPCORCH_SHARED/over"; } 2>/dev/null || true
  while [[ -e $HPCORCH_SHARED ]] && ((++tries <= 350)); do
    # The process that was to start the keeper may have been killed, even before it held its lock.
    hpcorch_remove_leftovers
    if ((tries == 80)) && [[ ! -e $HPCORCH_SHARED/alive ]]; then rm -rf -- "$HPCORCH_SHARED"; fi
    hpcorch_pause "$((tries < 50 ? 10 : 100))"
  done
  rm -f -- "$HPCORCH_RUN_DIR/shards/$HPCORCH_INDEX".{rank,failed}
}
