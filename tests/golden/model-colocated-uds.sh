#!/bin/bash
# model app, 1 task(s)
# made by hpcorch 0.0.0 from local/model.sh.j2 (template context 1)
# to submit it by hand: bash THIS_FILE
# sha256 of what follows: 93acbabd606ae315b774dab79a47ea24437bd302a6879c47b7ae2f6c9ef07b89
set -euo pipefail

HPCORCH_KIND=model
HPCORCH_NAME=app
HPCORCH_RUN_DIR=/scratch/exp/app
HPCORCH_ELEMENTS=1
HPCORCH_GANG=false
HPCORCH_SCHEDULER=local

# The array engine of the local scheduler: starts every task of the script, waits, keeps records.
# Reads: HPCORCH_RUN_DIR HPCORCH_NAME HPCORCH_ELEMENTS

# hpcorch_forward: passes a request to end on to all tasks; those that wait are not started any more.
hpcorch_forward() {
  HPCORCH_COUNT=0
  kill -TERM "${HPCORCH_TASKS[@]}" 2>/dev/null || true
}

# hpcorch_has_record PLACE: has that task, whose number is put into HPCORCH_INDEX, a record?
hpcorch_has_record() {
  local file
  HPCORCH_INDEX=$1
  if [[ -n ${HPCORCH_TABLE_ROWS-} ]]; then hpcorch_read_task "$((HPCORCH_FIRST_ROW + $1))"; fi
  file=$HPCORCH_RUN_DIR/exit/$HPCORCH_INDEX
  [[ -e $file ]] && grep -qF "\"job\":\"${HPCORCH_MARK:-$$}\"" -- "$file"
}

# hpcorch_record_death PLACE CODE: writes the exit record of a task that could not.
hpcorch_record_death() {
  local file job=${HPCORCH_MARK:-$$}
  if hpcorch_has_record "$1"; then return 0; fi
  file=$HPCORCH_RUN_DIR/exit/$HPCORCH_INDEX
  printf '{"index":%d,"job":"%s","code":%d,"signal":null,"elapsed":0,"reason":"%s"}\n' \
    "$HPCORCH_INDEX" "$job" "$2" "the task died without a record, exit code $2" >"$file.tmp"
  chmod 600 -- "$file.tmp"
  mv -f -- "$file.tmp" "$file"
}

# hpcorch_sweep: ends what the tasks left in the background, as batch systems do. A script that was
# started by hand shares its session with a person's shell and leaves everything alone.
hpcorch_sweep() {
  local directory stat
  for directory in /proc/[0-9]*; do
    stat=""
    { IFS= read -r -d '' stat <"$directory/stat" || true; } 2>/dev/null
    [[ ${directory#/proc/} != "$$" && ${stat##*) } =~ ^[A-Z]\ [0-9]+\ [0-9]+\ $$\  ]] || continue
    kill -KILL "${directory#/proc/}" 2>/dev/null || true
  done
}

# hpcorch_launch_task INDEX WORDS...: becomes the program that runs WORDS where that task belongs.
if ! declare -F hpcorch_launch_task >/dev/null; then
  hpcorch_launch_task() { exec "${@:2}"; }
fi

# hpcorch_reap PLACE: waits for that task to end and sees to its record.
hpcorch_reap() {
  local pid=${HPCORCH_TASKS[$1]} code=0
  wait "$pid" || true
  while kill -0 "$pid" 2>/dev/null; do wait "$pid" || true; done
  wait "$pid" || code=$?
  if ((code < 0)); then code=143; fi
  unset "HPCORCH_TASKS[$1]"
  hpcorch_record_death "$1" "$code"
  HPCORCH_WORST=$((code > HPCORCH_WORST ? code : HPCORCH_WORST))
}

# hpcorch_supervise SCRIPT TOKEN: runs all tasks, no more than allowed at once, and ends with the
# highest of their exit codes.
hpcorch_supervise() {
  local next=0 place most
  # A table of many tasks is for as many at once as there are CPUs; shards need each other.
  HPCORCH_TASKS=() HPCORCH_WORST=0 HPCORCH_COUNT=${HPCORCH_TASKS_HERE:-$HPCORCH_ELEMENTS}
  most=${HPCORCH_MAX_RUNNING:-$HPCORCH_COUNT}
  if ((most == 0)); then most=$(nproc); fi
  (umask 077 && mkdir -p -- "$HPCORCH_RUN_DIR/exit")
  exec 9<> <(:)
  trap hpcorch_forward TERM INT HUP
  printf '%s: job %s runs %d task(s), logs are in %s\n' \
    "$HPCORCH_NAME" "$$" "$HPCORCH_COUNT" "$HPCORCH_RUN_DIR/logs"
  while ((next < HPCORCH_COUNT || ${#HPCORCH_TASKS[@]})); do
    while ((next < HPCORCH_COUNT && ${#HPCORCH_TASKS[@]} < most)); do
      # A member that was stopped while it waited for room has got a record by now.
      if [[ -z ${HPCORCH_TABLE_ROWS-} ]] || ! hpcorch_has_record "$next"; then
        hpcorch_launch_task "$next" bash "$1" --element "$next" "$$" "$2" </dev/null 9>&- &
        HPCORCH_TASKS[next]=$!
      fi
      next=$((next + 1))
    done
    for place in "${!HPCORCH_TASKS[@]}"; do
      if ((next >= HPCORCH_COUNT)) || ! kill -0 "${HPCORCH_TASKS[place]}" 2>/dev/null; then
        hpcorch_reap "$place"
      fi
    done
    if ((next < HPCORCH_COUNT)); then read -r -t 0.05 -u 9 || true; fi
  done
  hpcorch_sweep
  exit "$HPCORCH_WORST"
}

case ${1-} in
  --element) ;;
  --token) hpcorch_supervise "$0" "$2" ;;
  # Started by hand: the same process again, with a token that others can find it by.
  *) exec bash "$0" --token "by-hand-$$" ;;
esac
HPCORCH_INDEX=$2
HPCORCH_JOB=$3
HPCORCH_TOKEN=$4
HPCORCH_GENERATION=0
export HPCORCH_INDEX HPCORCH_JOB HPCORCH_GENERATION

# What every task does: private files, one exit record, messages, waiting with a deadline.
# Reads: HPCORCH_RUN_DIR HPCORCH_KIND HPCORCH_NAME HPCORCH_ELEMENTS HPCORCH_SCHEDULER
#        HPCORCH_INDEX HPCORCH_JOB HPCORCH_TOKEN

# hpcorch_announce TEXT...: a line for the log and for whoever watches the job's own output, which
# descriptor 8 keeps.
hpcorch_announce() {
  hpcorch_say "$@"
  hpcorch_say "$@" >&8
}

# hpcorch_say TEXT...: one line of progress.
hpcorch_say() { printf '%(%H:%M:%S)T %s[%s]: %s\n' -1 "$HPCORCH_NAME" "$HPCORCH_INDEX" "$*"; }

# hpcorch_fail TEXT...: ends the task; the text goes to its error log and its exit record.
hpcorch_fail() {
  HPCORCH_REASON="$*"
  hpcorch_say "error: $*" >&2
  hpcorch_say "error: $*" >&8
  exit 1
}

# hpcorch_pause [MILLISECONDS]: lets a polling loop breathe without starting a process: descriptor 9
# is a pipe that never has anything to read.
hpcorch_pause() {
  local seconds
  printf -v seconds '%d.%03d' $((${1:-30} / 1000)) $((${1:-30} % 1000))
  read -r -t "$seconds" -u 9 || true
}

# hpcorch_clock: hundredths of a second since boot, in REPLY; never jumps, unlike the date.
hpcorch_clock() {
  local times=()
  read -r -a times </proc/uptime
  REPLY=$((10#${times[0]/./}))
}

# hpcorch_json TEXT: TEXT as the inside of a JSON string, in REPLY.
hpcorch_json() {
  REPLY=${1//\\/\\\\}
  REPLY=${REPLY//\"/\\\"}
  REPLY=${REPLY//$'\n'/\\n}
  REPLY=${REPLY//$'\t'/\\t}
  REPLY=${REPLY//[$'\x01'-$'\x1f']/ }
}

# hpcorch_publish FILE TEXT: FILE appears with all of TEXT or not at all.
hpcorch_publish() {
  printf '%s\n' "$2" >"$1.$HPCORCH_INDEX.tmp"
  mv -f -- "$1.$HPCORCH_INDEX.tmp" "$1"
}

# hpcorch_begin: private modes, directories, logs, and the traps that leave the exit record.
hpcorch_begin() {
  local mine=$HPCORCH_RUN_DIR/shards/$HPCORCH_INDEX
  # Our own files are private; the user's program gets its mask back.
  HPCORCH_UMASK=$(umask)
  umask 077
  exec 8>&1
  mkdir -p -- "$HPCORCH_RUN_DIR"/{logs,shards,exit}
  # What an earlier life of this task has left would mislead the others.
  rm -f -- "$HPCORCH_RUN_DIR/exit/$HPCORCH_INDEX" "$mine.json" "$mine.ready" "$mine.started"
  export HPCORCH_STEP_FILE=$HPCORCH_RUN_DIR/shards/step
  exec >>"$HPCORCH_RUN_DIR/logs/$HPCORCH_NAME.$HPCORCH_INDEX.out" \
    2>>"$HPCORCH_RUN_DIR/logs/$HPCORCH_NAME.$HPCORCH_INDEX.err"
  HPCORCH_CHILD="" HPCORCH_SIGNAL="" HPCORCH_REASON="" HPCORCH_NODE_DIR=""
  exec 9<> <(:)
  hpcorch_clock
  HPCORCH_STARTED=$REPLY
  trap hpcorch_finish EXIT
  trap 'hpcorch_on_signal TERM 143' TERM
  trap 'hpcorch_on_signal INT 130' INT
  trap 'hpcorch_on_signal HUP 129' HUP
  # Batch systems send it some time before the walltime ends, when the script asks for it.
  trap 'hpcorch_on_signal USR1 138' USR1
  if ((${HPCORCH_ROW:-$HPCORCH_INDEX} == 0)); then
    hpcorch_publish "$HPCORCH_RUN_DIR/job.json" "$(
      printf '{"kind":"%s","name":"%s","elements":%d,"gang":%s,' \
        "$HPCORCH_KIND" "$HPCORCH_NAME" "$HPCORCH_ELEMENTS" "$HPCORCH_GANG"
      printf '"scheduler":"%s","job":"%s","token":"%s","label":"%s"}' \
        "$HPCORCH_SCHEDULER" "$HPCORCH_JOB" "$HPCORCH_TOKEN" "${HPCORCH_LABEL-}"
    )"
  fi
  hpcorch_publish "$mine.started" "$HPCORCH_JOB"
}

# hpcorch_on_signal NAME CODE: the program gets SIGTERM and a chance to end; else the task ends.
hpcorch_on_signal() {
  HPCORCH_SIGNAL=$1
  if declare -F hpcorch_signal_meaning >/dev/null; then hpcorch_signal_meaning; fi
  if [[ -n $HPCORCH_CHILD ]]; then
    kill -TERM "$HPCORCH_CHILD" 2>/dev/null || true
  else
    HPCORCH_REASON="received SIG$1"
    exit "$2"
  fi
}

# hpcorch_await PID: waits for that child through any number of signals; its exit code in REPLY.
hpcorch_await() {
  REPLY=0
  wait "$1" || REPLY=$?
  while kill -0 "$1" 2>/dev/null; do
    wait "$1" || true
  done
  # A wait that a signal interrupted reports the signal: ask again for the program's own code.
  REPLY=0
  wait "$1" || REPLY=$?
  # Bash may lose the code of a child that gets the same signal at the same moment, and says -1.
  if ((REPLY < 0)); then REPLY=143; fi
}

# hpcorch_exec PROGRAM ARGS...: becomes the user's program, whose files get the user's own mask.
hpcorch_exec() {
  umask "$HPCORCH_UMASK"
  exec "$@"
}

# hpcorch_node_dir: a private directory on this node, in HPCORCH_NODE_DIR; removed at the end.
hpcorch_node_dir() {
  HPCORCH_NODE_DIR=$(mktemp -d "${TMPDIR:-/tmp}/hpcorch.XXXXXXXX") ||
    hpcorch_fail "cannot make a directory in ${TMPDIR:-/tmp}"
}

# hpcorch_finish: the EXIT trap. The record says what the scheduler may forget or never knew.
hpcorch_finish() {
  local code=$? signal=null reason
  trap '' TERM INT HUP USR1
  if declare -F hpcorch_end_workers >/dev/null; then hpcorch_end_workers; fi
  if declare -F hpcorch_cleanup >/dev/null; then hpcorch_cleanup; fi
  if [[ -n $HPCORCH_NODE_DIR ]]; then rm -rf -- "$HPCORCH_NODE_DIR"; fi
  [[ -z $HPCORCH_SIGNAL ]] || signal="\"$HPCORCH_SIGNAL\""
  hpcorch_json "$HPCORCH_REASON"
  reason=$REPLY
  hpcorch_clock
  hpcorch_publish "$HPCORCH_RUN_DIR/exit/$HPCORCH_INDEX" "$(
    printf '{"index":%d,"job":"%s","code":%d,"signal":%s,"elapsed":%d.%02d,"reason":"%s"}' \
      "$HPCORCH_INDEX" "$HPCORCH_JOB" "$code" "$signal" \
      $(((REPLY - HPCORCH_STARTED) / 100)) $(((REPLY - HPCORCH_STARTED) % 100)) "$reason"
  )"
  exit "$code"
}

# Addresses and ports of this node, and short questions to a server.

# hpcorch_interface_ip NAME: the IPv4 address of that interface, in REPLY. `auto` is the fastest
# network that the node is known to have, else the address that goes with its name.
hpcorch_interface_ip() {
  local words=() name
  case $1 in
    lo)
      REPLY=127.0.0.1
      return 0
      ;;
    auto)
      for name in hsn0 ib0 ipogif0; do
        if [[ -e /sys/class/net/$name ]] && hpcorch_interface_ip "$name"; then return 0; fi
      done
      hpcorch_own_ip
      return
      ;;
  esac
  read -r -a words < <(ip -o -4 addr show dev "$1" scope global 2>/dev/null) || return 1
  REPLY=${words[3]%%/*}
}

# hpcorch_own_ip: the address that this node's name stands for, or its first one, in REPLY.
hpcorch_own_ip() {
  local words=() name
  for name in "${SLURMD_NODENAME-}" "$(uname -n)"; do
    [[ -n $name ]] || continue
    read -r -a words < <(getent ahostsv4 "$name") || continue
    REPLY=${words[0]}
    if [[ $REPLY != 127.* ]]; then return 0; fi
  done
  read -r -a words < <(ip -o -4 addr show scope global 2>/dev/null) || return 1
  REPLY=${words[3]%%/*}
}

# hpcorch_addresses NAME...: the addresses to listen on, in HPCORCH_IPS; the first is published.
hpcorch_addresses() {
  local name
  HPCORCH_IPS=()
  for name in "$@"; do
    hpcorch_interface_ip "$name" || hpcorch_fail "network interface $name has no IPv4 address on" \
      "$(uname -n); interfaces here: $(cd /sys/class/net && printf '%s ' *)"
    HPCORCH_IPS+=("$REPLY")
  done
}

# hpcorch_port_busy PORT: does anybody answer on that port of the published address?
hpcorch_port_busy() { (exec 3<>"/dev/tcp/${HPCORCH_IPS[0]}/$1") 2>/dev/null; }

# hpcorch_connect IP PORT: a connection as the server's administrator, in HPCORCH_CONNECTION.
hpcorch_connect() {
  { exec {HPCORCH_CONNECTION}<>"/dev/tcp/$1/$2"; } 2>/dev/null || return 1
  [[ -n $HPCORCH_ADMIN_PASSWORD ]] || return 0
  hpcorch_query AUTH hpcorch "$HPCORCH_ADMIN_PASSWORD" && [[ $REPLY == OK ]]
}

# hpcorch_query COMMAND...: the reply of a connected server to an inline command, in REPLY.
hpcorch_query() {
  local line size
  { printf '%s\r\n' "$*" >&"$HPCORCH_CONNECTION"; } 2>/dev/null || return 1
  IFS= read -r -t 5 -u "$HPCORCH_CONNECTION" line || return 1
  line=${line%$'\r'}
  case $line in
    +*) REPLY=${line#+} ;;
    \$[0-9]*)
      # The two bytes that end a reply are read too, so that the next one begins clean.
      size=$((${line#\$} + 2))
      LC_ALL=C IFS= read -r -t 5 -N "$size" -u "$HPCORCH_CONNECTION" REPLY
      ;;
    *) return 1 ;;
  esac
}

# hpcorch_disconnect: closes that connection, if there is one.
hpcorch_disconnect() {
  [[ -n $HPCORCH_CONNECTION ]] || return 0
  exec {HPCORCH_CONNECTION}>&-
  HPCORCH_CONNECTION=""
}

# hpcorch_ask IP PORT COMMAND...: the same over a connection of its own, in REPLY.
hpcorch_ask() {
  local code=0
  HPCORCH_CONNECTION=""
  if [[ $HPCORCH_DATA_TLS == 1 ]]; then
    # The password goes through a pipe: others of this user could read an environment.
    REPLY=$(printf 'AUTH hpcorch %s\n%s\n' "$HPCORCH_ADMIN_PASSWORD" "${*:3}" |
      "$HPCORCH_CLI" -h "$1" -p "$2" --tls --cacert "$HPCORCH_RUN_DIR/tls/ca.crt" \
        --cert "$HPCORCH_RUN_DIR/tls/node.crt" --key "$HPCORCH_RUN_DIR/tls/node.key" 2>/dev/null)
    [[ $REPLY == OK* ]]
    return
  fi
  # A server that goes away must not end this script with SIGPIPE.
  trap '' PIPE
  { hpcorch_connect "$1" "$2" && hpcorch_query "${@:3}"; } || code=1
  hpcorch_disconnect
  trap - PIPE
  return "$code"
}

# Secrets of one deployment: made once by whichever task is first, readable by the owner only.
# Reads: HPCORCH_RUN_DIR HPCORCH_SECURITY HPCORCH_DATA_TLS HPCORCH_BUS_TLS

# hpcorch_secret_file FILE USER: creates FILE unless it is there; link(2) makes that atomic.
hpcorch_secret_file() {
  local temporary=$1.$HPCORCH_INDEX.$$.tmp password
  [[ ! -e $1 ]] || return 0
  password=$(od -An -v -tx1 -N32 /dev/urandom)
  {
    printf 'user=%s\npassword=%s\n' "$2" "${password//[^0-9a-f]/}"
    if [[ $HPCORCH_DATA_TLS == 1 ]]; then
      printf 'tls_ca=%s/tls/ca.crt\n' "$HPCORCH_RUN_DIR"
      printf 'tls_cert=%s/tls/node.crt\ntls_key=%s/tls/node.key\n' \
        "$HPCORCH_RUN_DIR" "$HPCORCH_RUN_DIR"
    fi
  } >"$temporary"
  ln -- "$temporary" "$1" 2>/dev/null || [[ -e $1 ]] || hpcorch_fail "cannot create $1"
  rm -f -- "$temporary"
}

# hpcorch_secret FILE: the password in FILE, in REPLY.
hpcorch_secret() {
  local line
  REPLY=""
  while IFS= read -r line; do
    if [[ $line == password=* ]]; then REPLY=${line#password=}; fi
  done <"$1"
  [[ -n $REPLY ]] || hpcorch_fail "$1 holds no password"
}

# hpcorch_certificates: a throw-away authority and one certificate; rename(2) makes it atomic.
hpcorch_certificates() {
  local final=$HPCORCH_RUN_DIR/tls work=$HPCORCH_RUN_DIR/tls.$HPCORCH_INDEX.$$.tmp
  local -a key=(-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes)
  [[ ! -e $final/node.crt ]] || return 0
  command -v openssl >/dev/null || hpcorch_fail "TLS needs the openssl command on this node"
  mkdir -p -- "$work"
  if ! {
    openssl req -x509 "${key[@]}" -keyout "$work/ca.key" -out "$work/ca.crt" -days 365 \
      -subj /CN=hpcorch-ca &&
      openssl req "${key[@]}" -keyout "$work/node.key" -out "$work/node.csr" -subj /CN=hpcorch &&
      openssl x509 -req -in "$work/node.csr" -CA "$work/ca.crt" -CAkey "$work/ca.key" \
        -CAcreateserial -days 365 -out "$work/node.crt"
  } >"$work/log" 2>&1; then
    hpcorch_fail "openssl could not make certificates: $(tail -n 1 "$work/log")"
  fi
  # Nobody can sign a further certificate once the authority's key is gone.
  rm -f -- "$work/ca.key" "$work/ca.srl" "$work/node.csr" "$work/log"
  mv -T -- "$work" "$final" 2>/dev/null || rm -rf -- "$work"
  [[ -f $final/node.crt ]] || hpcorch_fail "cannot create $final"
}

# hpcorch_credentials: makes or reads all secrets; HPCORCH_ADMIN_PASSWORD is empty when open.
hpcorch_credentials() {
  HPCORCH_ADMIN_PASSWORD="" HPCORCH_APP_PASSWORD=""
  if [[ $HPCORCH_DATA_TLS == 1 || $HPCORCH_BUS_TLS == 1 ]]; then hpcorch_certificates; fi
  [[ $HPCORCH_SECURITY != open ]] || return 0
  hpcorch_secret_file "$HPCORCH_SECRETS/admin-credentials" hpcorch
  hpcorch_secret "$HPCORCH_SECRETS/admin-credentials"
  HPCORCH_ADMIN_PASSWORD=$REPLY
  [[ $HPCORCH_SECURITY != smartredis ]] || return 0
  hpcorch_secret_file "$HPCORCH_SECRETS/credentials" app
  hpcorch_secret "$HPCORCH_SECRETS/credentials"
  HPCORCH_APP_PASSWORD=$REPLY
}

# hpcorch_acl: the server's users, as redis.conf lines.
hpcorch_acl() {
  # What data programs need of the commands that Redis files under "dangerous" or "admin".
  local data='~* &* +@all -@admin -@dangerous +info +keys +sort +restore'
  data+=' +cluster|slots +cluster|nodes +cluster|info +cluster|keyslot +cluster|myid'
  case $HPCORCH_SECURITY in
    open) return 0 ;;
    smartredis) printf 'user default on nopass %s\n' "$data" ;;
    *)
      printf 'user default off\n'
      printf 'user app on >%s %s\n' "$HPCORCH_APP_PASSWORD" "$data"
      ;;
  esac
  printf 'user hpcorch on >%s ~* &* +@all\n' "$HPCORCH_ADMIN_PASSWORD"
}

# One server process: its configuration, start, readiness and end.
# Reads: HPCORCH_SERVER HPCORCH_SERVER_ENV HPCORCH_MODULES HPCORCH_SECURITY HPCORCH_DATA_TLS
#        HPCORCH_BUS_TLS HPCORCH_CLUSTER HPCORCH_CHOOSES_BUS HPCORCH_PIN_SERVER hpcorch_base_conf

HPCORCH_TLS_OFFSET=5000

# hpcorch_conf_word TEXT: TEXT as one quoted word of redis.conf, in REPLY.
hpcorch_conf_word() {
  REPLY=${1//\\/\\\\}
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
  HPCORCH_SERVER_LOG=$HPCORCH_RUN_DIR/logs/$HPCORCH_NAME.$HPCORCH_INDEX.log
  (
    cd -- "$HPCORCH_NODE_DIR" || exit 1
    exec ${HPCORCH_PIN_SERVER[@]+"${HPCORCH_PIN_SERVER[@]}"} \
      env ${HPCORCH_SERVER_ENV[@]+"${HPCORCH_SERVER_ENV[@]}"} \
      "$HPCORCH_SERVER" -
  ) <"$HPCORCH_NODE_DIR/server.conf" >"$HPCORCH_SERVER_LOG" 2>&1 8>&- 9>&- &
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

# CPUs, counted inside those that this task may use (a job rarely owns CPU 0).
# Reads: HPCORCH_DB_CPUS (numbers inside the allowed ones) HPCORCH_LIMIT_APP

# hpcorch_allowed_cpus: the CPUs this task may use, one number each, in HPCORCH_ALLOWED.
hpcorch_allowed_cpus() {
  local key value part cpu
  HPCORCH_ALLOWED=()
  while read -r key value; do
    if [[ $key == Cpus_allowed_list: ]]; then break; fi
  done </proc/self/status
  for part in ${value//,/ }; do
    for ((cpu = ${part%-*}; cpu <= ${part#*-}; cpu++)); do HPCORCH_ALLOWED+=("$cpu"); done
  done
}

# hpcorch_join NUMBER...: with commas, in REPLY.
hpcorch_join() {
  local IFS=,
  REPLY="$*"
}

# hpcorch_plan_pinning: command prefixes for the server and the program.
hpcorch_plan_pinning() {
  local cpu server=() rest=() taken=" "
  HPCORCH_PIN_SERVER=() HPCORCH_PIN_APP=()
  ((${#HPCORCH_DB_CPUS[@]})) || return 0
  hpcorch_allowed_cpus
  for cpu in "${HPCORCH_DB_CPUS[@]}"; do
    if ((cpu >= ${#HPCORCH_ALLOWED[@]})); then
      hpcorch_join "${HPCORCH_ALLOWED[@]}"
      hpcorch_fail "the database cannot have CPU number $cpu: this task may use" \
        "${#HPCORCH_ALLOWED[@]} CPUs ($REPLY), numbered from 0"
    fi
    server+=("${HPCORCH_ALLOWED[cpu]}")
    taken+="${HPCORCH_ALLOWED[cpu]} "
  done
  for cpu in "${HPCORCH_ALLOWED[@]}"; do
    if [[ $taken != *" $cpu "* ]]; then rest+=("$cpu"); fi
  done
  hpcorch_pin_server "${server[@]}"
  if [[ $HPCORCH_LIMIT_APP != 1 ]]; then return 0; fi
  if ((${#rest[@]} == 0)); then
    hpcorch_say "the database has all CPUs of this task: the program shares them" >&2
    return 0
  fi
  hpcorch_join "${rest[@]}"
  # shellcheck disable=SC2034 # a job without a program of the user's has no use for it
  HPCORCH_PIN_APP=(taskset -c "$REPLY")
}

# hpcorch_pin_server CPU...: numactl also keeps memory near; taskset is the fallback.
hpcorch_pin_server() {
  hpcorch_join "$@"
  HPCORCH_PIN_SERVER=(taskset -c "$REPLY")
  hpcorch_join "${HPCORCH_DB_CPUS[@]}"
  if command -v numactl >/dev/null &&
    numactl --physcpubind="+$REPLY" --localalloc true >/dev/null 2>&1; then
    HPCORCH_PIN_SERVER=(numactl --physcpubind="+$REPLY" --localalloc)
  fi
}

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

# A user's program: it waits for its databases, gets their addresses, and its exit code counts.
# Reads: HPCORCH_PROGRAM HPCORCH_PROGRAM_ENV HPCORCH_DEADLINE_SECONDS

# hpcorch_json_field FILE NAME: a text field of a file that hpcorch_publish wrote, in REPLY.
hpcorch_json_field() {
  local text=""
  REPLY=""
  { IFS= read -r text <"$1"; } 2>/dev/null || return 1
  [[ $text =~ \"$2\":\"(([^\"\\]|\\.)*)\" ]] || return 1
  REPLY=${BASH_REMATCH[1]//\\\"/\"}
  REPLY=${REPLY//\\\\/\\}
}

# hpcorch_database_ended DIRECTORY: has the database there ended? Why, in REPLY.
hpcorch_database_ended() {
  local file
  for file in "$1"/exit/*; do
    [[ $file != *.tmp && -e $file ]] || continue
    hpcorch_json_field "$file" reason && [[ -n $REPLY ]] || REPLY="it was stopped"
    return 0
  done
  return 1
}

# hpcorch_use_database DIRECTORY SUFFIX: waits for it and adds its variables to the program's.
hpcorch_use_database() {
  local directory=$1 suffix=$2 waited=0
  until [[ -e $directory/address.env ]]; do
    if hpcorch_database_ended "$directory"; then
      hpcorch_fail "the database in $directory has ended: $REPLY"
    fi
    if ((!waited)); then hpcorch_say "waiting for the database in $directory"; fi
    waited=1
    hpcorch_pause 100
  done
  hpcorch_json_field "$directory/address.json" ssdb || hpcorch_fail "$directory/address.json is damaged"
  hpcorch_variable SSDB "$suffix" "$REPLY"
  hpcorch_json_field "$directory/address.json" type && hpcorch_variable SR_DB_TYPE "$suffix" "$REPLY"
  if hpcorch_json_field "$directory/address.json" credentials; then
    hpcorch_variable HPCORCH_CREDENTIALS "$suffix" "$REPLY"
  fi
}

# hpcorch_variable NAME SUFFIX VALUE: one variable of the program. Shells drop names with a '-' or
# '.', so that programs started through one find the value under a name that shells keep.
hpcorch_variable() {
  local alias=${2//[!A-Za-z0-9_]/_}
  HPCORCH_PROGRAM_ENV+=("$1$2=$3")
  if [[ $alias != "$2" ]]; then HPCORCH_PROGRAM_ENV+=("$1$alias=$3"); fi
}

# hpcorch_run_program: runs it byte for byte as it was described; its exit code is the task's.
hpcorch_run_program() {
  cd -- "$HPCORCH_WORK_DIR" || hpcorch_fail "cannot enter $HPCORCH_WORK_DIR"
  hpcorch_exec ${HPCORCH_PIN_APP[@]+"${HPCORCH_PIN_APP[@]}"} env -- \
    ${HPCORCH_PROGRAM_ENV[@]+"${HPCORCH_PROGRAM_ENV[@]}"} "${HPCORCH_PROGRAM[@]}" 8>&- 9>&- &
  HPCORCH_CHILD=$!
  hpcorch_await "$HPCORCH_CHILD"
  HPCORCH_CHILD=""
  HPCORCH_CODE=$REPLY
  if ((HPCORCH_CODE != 0)); then
    HPCORCH_REASON="the program ended with exit code $HPCORCH_CODE"
    if ((HPCORCH_CODE == 127)); then
      HPCORCH_REASON+=": is ${HPCORCH_PROGRAM[0]} on $(uname -n)?"
    fi
  fi
}

HPCORCH_WORK_DIR=/scratch/exp/app
HPCORCH_PROGRAM=(/opt/app/program)
HPCORCH_PROGRAM_ENV=()
HPCORCH_PIN_APP=()
HPCORCH_CLUSTER=0
HPCORCH_TRANSPORT=uds
HPCORCH_SUFFIX=_my-db
HPCORCH_INTERFACES=(ib0)
HPCORCH_FIRST_PORT=6379
HPCORCH_PORT_STEP=1
HPCORCH_LAST_PORT=65535
HPCORCH_SOCKET_PATH='/tmp/my socket'
HPCORCH_SOCKET_MODE=700
HPCORCH_DB_CPUS=(0 2 5 6 7)
HPCORCH_LIMIT_APP=0
HPCORCH_SERVER=/opt/redis/redis-server
HPCORCH_SERVER_ENV=(GLIBC_TUNABLES=glibc.malloc.hugetlb=1)
HPCORCH_MODULES=()
HPCORCH_CLI=/opt/redis/redis-cli
HPCORCH_SECURITY=password
HPCORCH_DATA_TLS=0
HPCORCH_BUS_TLS=0
HPCORCH_BOOT_SECONDS=60

# hpcorch_base_conf: what is known before the job starts; the rest follows it and wins.
hpcorch_base_conf() {
  cat <<'HPCORCH_CONF'
maxclients 50000
tcp-backlog 4096
timeout 0
client-output-buffer-limit normal 0 0 0
proto-max-bulk-len 1099511627776
client-query-buffer-limit 1099511627776
save ""
appendonly no
stop-writes-on-bgsave-error no
cluster-node-timeout 15000
io-threads 4
disable-thp no
io-threads-do-reads yes
protected-mode yes
daemonize no
logfile ""
loglevel debug
HPCORCH_CONF
}

HPCORCH_CODE=0
hpcorch_begin
hpcorch_use_database /scratch/exp/near-by _near-by
hpcorch_colocate
hpcorch_run_program
exit "$HPCORCH_CODE"
