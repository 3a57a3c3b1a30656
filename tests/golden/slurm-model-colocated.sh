#!/bin/bash
#SBATCH --job-name=app
#SBATCH --comment=hpcorch:0123456789abcdef
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4
#SBATCH --cpus-per-task=2
# model app, 1 task(s)
# made by hpcorch 0.0.0 from slurm/model.sh.j2 (template context 1)
# to submit it by hand: sbatch THIS_FILE
# sha256 of what follows: bcef2c846e2695fc581535d631e898f9f1cc2c1c2a7b6af15816e26606d86c00
# What SHELLOPTS, BASHOPTS, BASH_ENV or POSIXLY_CORRECT of the environment have set must change nothing.
HPCORCH_STRICT='set +afkmCP +o posix
set -euo pipefail
printf -v IFS " \t\n"
export -n SHELLOPTS BASHOPTS
shopt -u dotglob expand_aliases failglob inherit_errexit lastpipe localvar_inherit nocaseglob \
  nocasematch nullglob varredir_close xpg_echo 2>/dev/null || true'
eval "$HPCORCH_STRICT"
# Who starts it may have closed these, to be free of a terminal.
[[ -e /dev/fd/1 ]] || exec >/dev/null
[[ -e /dev/fd/2 ]] || exec 2>/dev/null

HPCORCH_KIND=model
HPCORCH_NAME=app
HPCORCH_RUN_DIR=/scratch/exp/app
HPCORCH_ELEMENTS=1
HPCORCH_GANG=false
HPCORCH_SCHEDULER=slurm

: "${SLURM_JOB_ID:?this script is for the inside of a Slurm job: use sbatch}"
HPCORCH_INDEX=${SLURM_ARRAY_TASK_ID:-0}
HPCORCH_JOB=${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}
HPCORCH_TOKEN=0123456789abcdef
HPCORCH_GENERATION=${SLURM_RESTART_COUNT:-0}
# A signal of the user's own choice may go to this script alone.
HPCORCH_ALL_GET_TERM=1

# The end of what srun has started. Reads: SLURM_JOB_ID

# hpcorch_end_srun PID: Slurm sends SIGTERM to the processes of that srun's step. To srun itself the
# signal means to kill them at once, which is right for one that has no step yet.
hpcorch_end_srun() {
  local line node step=""
  node=$(uname -n)
  while read -r line; do
    if [[ $line == *" SrunHost:Pid=$node:$1" ]]; then
      step=${line#StepId=}
      step=${step%% *}
    fi
  done < <(timeout 10 scontrol --oneliner show steps "$SLURM_JOB_ID" 2>/dev/null)
  if [[ -n $step ]]; then
    # It fails, having done it, where the job has nodes that the step has not.
    timeout 10 scancel --signal=TERM "$step" 2>/dev/null || true
  else
    kill -TERM "$1" 2>/dev/null || true
  fi
}
export HPCORCH_INDEX HPCORCH_JOB HPCORCH_GENERATION

# What every task does: private files, one exit record, messages, waiting with a deadline.
# Reads: HPCORCH_RUN_DIR HPCORCH_KIND HPCORCH_NAME HPCORCH_ELEMENTS HPCORCH_SCHEDULER
#        HPCORCH_INDEX HPCORCH_JOB HPCORCH_TOKEN

# hpcorch_announce TEXT...: a line for the log and for whoever watches the job's own output, which
# descriptor HPCORCH_OUTER keeps.
hpcorch_announce() {
  hpcorch_say "$@"
  hpcorch_say "$@" >&"$HPCORCH_OUTER"
}

# hpcorch_say TEXT...: one line of progress.
hpcorch_say() { printf '%(%H:%M:%S)T %s[%s]: %s\n' -1 "$HPCORCH_NAME" "$HPCORCH_INDEX" "$*"; }

# hpcorch_fail TEXT...: ends the task with code HPCORCH_FAILURE (default 1); the text goes to its error
# log and its exit record.
hpcorch_fail() {
  HPCORCH_REASON="$*"
  hpcorch_say "error: $*" >&2
  hpcorch_say "error: $*" >&"$HPCORCH_OUTER"
  exit "${HPCORCH_FAILURE:-1}"
}

# hpcorch_pause [MILLISECONDS]: lets a polling loop breathe without starting a process:
# HPCORCH_IDLE is a pipe that never has anything to read.
hpcorch_pause() {
  local seconds
  printf -v seconds '%d.%03d' $((${1:-30} / 1000)) $((${1:-30} % 1000))
  read -r -t "$seconds" -u "$HPCORCH_IDLE" || true
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
  printf '%s\n' "$2" >"$1.$HPCORCH_INDEX.tmp" && mv -f -- "$1.$HPCORCH_INDEX.tmp" "$1"
}

# hpcorch_begin: private modes, directories, logs, and the traps that leave the exit record.
hpcorch_begin() {
  local mine=$HPCORCH_RUN_DIR/shards/$HPCORCH_INDEX
  # Our own files are private; the user's program gets its mask back.
  HPCORCH_UMASK=$(umask)
  umask 077
  exec {HPCORCH_OUTER}>&1
  mkdir -p -- "$HPCORCH_RUN_DIR"/{logs,shards,exit}
  # What an earlier life of this task has left would mislead the others.
  rm -f -- "$HPCORCH_RUN_DIR/exit/$HPCORCH_INDEX" "$mine.json" "$mine.ready" "$mine.started"
  export HPCORCH_STEP_FILE=$HPCORCH_RUN_DIR/shards/step
  exec >>"$HPCORCH_RUN_DIR/logs/$HPCORCH_NAME.$HPCORCH_INDEX.out" \
    2>>"$HPCORCH_RUN_DIR/logs/$HPCORCH_NAME.$HPCORCH_INDEX.err"
  HPCORCH_CHILD="" HPCORCH_SIGNAL="" HPCORCH_REASON="" HPCORCH_NODE_DIR=""
  exec {HPCORCH_IDLE}<> <(:)
  hpcorch_clock
  HPCORCH_STARTED=$REPLY
  HPCORCH_PREAMBLE_END=""
  hpcorch_set_traps
  if ((${HPCORCH_ROW:-$HPCORCH_INDEX} == 0)); then
    hpcorch_publish "$HPCORCH_RUN_DIR/job.json" "$(
      printf '{"kind":"%s","name":"%s","elements":%d,"gang":%s,"per_element":%d,' \
        "$HPCORCH_KIND" "$HPCORCH_NAME" "$HPCORCH_ELEMENTS" "$HPCORCH_GANG" "${HPCORCH_PER_ELEMENT:-1}"
      printf '"scheduler":"%s","job":"%s","token":"%s","label":"%s"}' \
        "$HPCORCH_SCHEDULER" "$HPCORCH_JOB" "$HPCORCH_TOKEN" "${HPCORCH_LABEL-}"
    )"
  fi
  hpcorch_publish "$mine.started" "$HPCORCH_JOB"
}

# hpcorch_set_traps: what leaves the exit record, and what signals do.
hpcorch_set_traps() {
  trap hpcorch_finish EXIT
  trap 'hpcorch_on_signal TERM 143' TERM
  trap 'hpcorch_on_signal INT 130' INT
  trap 'hpcorch_on_signal HUP 129' HUP
  # Batch systems send it some time before the walltime ends, when the script asks for it.
  trap 'hpcorch_on_signal USR1 138' USR1
}

# hpcorch_after_preamble: the mask that the user's lines have set is the program's, and what they trapped
# the end with is run then; the traps of this script are its own again.
hpcorch_after_preamble() {
  eval "$HPCORCH_STRICT"
  HPCORCH_UMASK=$(umask)
  umask 077
  HPCORCH_PREAMBLE_END=$(trap -p EXIT)
  if [[ $HPCORCH_PREAMBLE_END == *hpcorch_finish* ]]; then HPCORCH_PREAMBLE_END=""; fi
  hpcorch_set_traps
}

# hpcorch_on_signal NAME CODE: what was started gets SIGTERM and a chance to end; else the task ends.
hpcorch_on_signal() {
  local earlier=$HPCORCH_SIGNAL
  HPCORCH_SIGNAL=$1
  if declare -F hpcorch_signal_meaning >/dev/null; then hpcorch_signal_meaning; fi
  if [[ -z $HPCORCH_CHILD ]]; then
    # Asked before, it is ending: what the program has left is seen to in peace.
    if [[ -z $earlier ]]; then
      HPCORCH_REASON="received SIG$1"
      exit "$2"
    fi
  elif declare -F hpcorch_pass_on >/dev/null; then
    hpcorch_pass_on "$1"
  else
    kill -TERM "$HPCORCH_CHILD" 2>/dev/null || true
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

# hpcorch_shield PROGRAM: the words to put before it where env(1) starts it, in HPCORCH_SHIELD: a path
# with a '=' would be a variable there, and is a program to nice(1).
hpcorch_shield() {
  HPCORCH_SHIELD=()
  if [[ $1 == *=* ]]; then HPCORCH_SHIELD=(nice -n 0); fi
}

# hpcorch_tmpdir: where private files of this node go, in REPLY: a full path, since others look there too.
hpcorch_tmpdir() {
  REPLY=${TMPDIR:-/tmp}
  if [[ $REPLY != /* ]]; then REPLY=$PWD/$REPLY; fi
}

# hpcorch_node_dir: a private directory on this node, in HPCORCH_NODE_DIR; removed at the end.
hpcorch_node_dir() {
  hpcorch_tmpdir
  HPCORCH_NODE_DIR=$(mktemp -d "$REPLY/hpcorch.XXXXXXXX") || hpcorch_fail "cannot make a directory in $REPLY"
}

# hpcorch_last_words CODE: why the script broke off, in HPCORCH_REASON: what it complained of last.
hpcorch_last_words() {
  local log=$HPCORCH_RUN_DIR/logs/$HPCORCH_NAME.$HPCORCH_INDEX.err
  HPCORCH_REASON=$(tail -n 1 -- "$log" 2>/dev/null) || true
  HPCORCH_REASON="the job script broke off with code $1${HPCORCH_REASON:+: $HPCORCH_REASON}"
}

# hpcorch_finish: the EXIT trap. The record says what the scheduler may forget or never knew.
hpcorch_finish() {
  local code=$? signal=null reason
  trap '' TERM INT HUP USR1
  if ((code)) && [[ -z $HPCORCH_REASON$HPCORCH_SIGNAL ]]; then hpcorch_last_words "$code"; fi
  if declare -F hpcorch_end_workers >/dev/null; then hpcorch_end_workers; fi
  if declare -F hpcorch_cleanup >/dev/null; then hpcorch_cleanup; fi
  # The trap is set in a process of its own, whose end it then sees.
  if [[ -n $HPCORCH_PREAMBLE_END ]]; then (set +euo pipefail && eval "$HPCORCH_PREAMBLE_END") || true; fi
  if [[ -n $HPCORCH_NODE_DIR ]]; then rm -rf -- "$HPCORCH_NODE_DIR"; fi
  [[ -z $HPCORCH_SIGNAL ]] || signal="\"$HPCORCH_SIGNAL\""
  # A line of a log may be of any length, and replacing characters takes bash the square of that.
  hpcorch_json "${HPCORCH_REASON:0:2000}"
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

# hpcorch_own_ip: the address that this node's name stands for, or its first one, in REPLY. A name may
# stand for several, and for some that are not this node's.
hpcorch_own_ip() {
  local words=() name address rest mine=""
  while read -r -a words; do
    mine+=" ${words[3]%%/*} "
  done < <(ip -o -4 addr show scope global 2>/dev/null)
  for name in "${SLURMD_NODENAME-}" "$(uname -n)"; do
    [[ -n $name ]] || continue
    while read -r address rest; do
      REPLY=$address
      if [[ $REPLY != 127.* && ${mine:-" $REPLY "} == *" $REPLY "* ]]; then return 0; fi
    done < <(getent ahostsv4 "$name")
  done
  read -r REPLY rest <<<"$mine"
  [[ -n $REPLY ]]
}

# hpcorch_addresses NAME...: the addresses to listen on, in HPCORCH_IPS; the first is published.
hpcorch_addresses() {
  local name
  HPCORCH_IPS=()
  for name in "$@"; do
    hpcorch_interface_ip "$name" || hpcorch_fail "network interface $name has no IPv4 address on" \
      "$(uname -n); interfaces here: $(cd /sys/class/net && printf '%s ' *)"
    # Two names may stand for one address, on which a server listens once only.
    if [[ " ${HPCORCH_IPS[*]-} " != *" $REPLY "* ]]; then HPCORCH_IPS+=("$REPLY"); fi
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
#        HPCORCH_AI_COMMANDS

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
  # Servers file no module's commands under "admin".
  if [[ $HPCORCH_AI_COMMANDS == 1 ]]; then data+=' -hpcorch.work -hpcorch.done -hpcorch.fail'; fi
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

# CPUs: which of them a node's part of the job may use, and who of the job sits where.
# Reads: HPCORCH_DB_CPUS (numbers inside the allowed ones) HPCORCH_LIMIT_APP

# hpcorch_expand LIST: a list such as 0,2,5-7 as numbers, in HPCORCH_NUMBERS.
hpcorch_expand() {
  local part cpu
  HPCORCH_NUMBERS=()
  for part in ${1//,/ }; do
    for ((cpu = 10#${part%-*}; cpu <= 10#${part#*-}; cpu++)); do HPCORCH_NUMBERS+=("$cpu"); done
  done
}

# hpcorch_cpus_of PID: the CPUs that process may use, in HPCORCH_NUMBERS.
hpcorch_cpus_of() {
  local key value=""
  while read -r key value; do
    if [[ $key == Cpus_allowed_list: ]]; then break; fi
  done <"/proc/$1/status"
  hpcorch_expand "$value"
}

# hpcorch_join NUMBER...: with commas, in REPLY.
hpcorch_join() {
  local IFS=,
  REPLY="$*"
}

# hpcorch_common NUMBER... -- NUMBER...: those of the first that are among the second, in
# HPCORCH_NUMBERS; the others in HPCORCH_OTHERS.
hpcorch_common() {
  local first=() second=" " number
  while [[ $1 != -- ]]; do
    first+=("$1")
    shift
  done
  second=" ${*:2} "
  HPCORCH_NUMBERS=() HPCORCH_OTHERS=()
  for number in ${first[@]+"${first[@]}"}; do
    if [[ $second == *" $number "* ]]; then
      HPCORCH_NUMBERS+=("$number")
    else
      HPCORCH_OTHERS+=("$number")
    fi
  done
}

# hpcorch_choose_cpus CPU...: the server's CPUs, by their numbers inside these, in HPCORCH_SERVER_CPUS.
hpcorch_choose_cpus() {
  local allowed=("$@") cpu
  HPCORCH_SERVER_CPUS=()
  for cpu in ${HPCORCH_DB_CPUS[@]+"${HPCORCH_DB_CPUS[@]}"}; do
    if ((cpu >= ${#allowed[@]})); then
      hpcorch_join "${allowed[@]}"
      hpcorch_fail "the database cannot have CPU number $cpu: this task may use" \
        "${#allowed[@]} CPUs ($REPLY), numbered from 0"
    fi
    HPCORCH_SERVER_CPUS+=("${allowed[cpu]}")
  done
}

# hpcorch_pin_server CPU...: the words before the server's own, in HPCORCH_PIN_SERVER: numactl also
# keeps memory near, taskset is the fallback. CPU... are all that it may choose from.
hpcorch_pin_server() {
  local allowed
  HPCORCH_PIN_SERVER=()
  ((${#HPCORCH_DB_CPUS[@]})) || return 0
  hpcorch_choose_cpus "$@"
  hpcorch_join "$@"
  allowed=$REPLY
  hpcorch_join "${HPCORCH_DB_CPUS[@]}"
  # numactl counts inside the CPUs that it may use itself, which a launcher may have cut down.
  HPCORCH_PIN_SERVER=(taskset -c "$allowed" numactl --physcpubind="+$REPLY" --localalloc)
  if ! "${HPCORCH_PIN_SERVER[@]}" true >/dev/null 2>&1; then
    hpcorch_join "${HPCORCH_SERVER_CPUS[@]}"
    HPCORCH_PIN_SERVER=(taskset -c "$REPLY")
  fi
}

# What a process of a job step must know of its node: its name, its neighbours, the job's CPUs.
# Reads: HPCORCH_LAUNCHER HPCORCH_RANKS_PER_NODE HPCORCH_TOPOLOGY HPCORCH_PER

# hpcorch_node_name: the name of this node without its domain, in HPCORCH_NODE. MPI's launchers carry
# Slurm's variables of one node to all others, srun sets them anew.
hpcorch_node_name() {
  HPCORCH_NODE=$(uname -n)
  if [[ $HPCORCH_LAUNCHER == srun ]]; then HPCORCH_NODE=${SLURMD_NODENAME:-$HPCORCH_NODE}; fi
  HPCORCH_NODE=${HPCORCH_NODE%%.*}
}

# hpcorch_slurm_count COUNTS INDEX: the number at INDEX of Slurm's short form 4(x2),1; in REPLY.
hpcorch_slurm_count() {
  local part at=0
  REPLY=0
  for part in ${1//,/ }; do
    REPLY=${part%%(*}
    if [[ $part =~ \(x([0-9]+)\) ]]; then at=$((at + BASH_REMATCH[1])); else at=$((at + 1)); fi
    if ((at > $2)); then return 0; fi
  done
}

# hpcorch_first TEXT...: the first that is not empty, in REPLY.
hpcorch_first() {
  for REPLY in "$@"; do if [[ -n $REPLY ]]; then return 0; fi; done
}

# hpcorch_count_ranks: how many processes the program has on this node and which one this is, in
# HPCORCH_LOCAL_SIZE and HPCORCH_LOCAL_RANK. Each launcher says so in its own way.
hpcorch_count_ranks() {
  HPCORCH_LOCAL_SIZE=$HPCORCH_RANKS_PER_NODE HPCORCH_LOCAL_RANK=0
  case $HPCORCH_LAUNCHER in
    '') HPCORCH_LOCAL_SIZE=1 ;;
    srun)
      hpcorch_slurm_count "${SLURM_STEP_TASKS_PER_NODE:-$HPCORCH_RANKS_PER_NODE}" "${SLURM_NODEID:-0}"
      HPCORCH_LOCAL_SIZE=$REPLY HPCORCH_LOCAL_RANK=${SLURM_LOCALID:-0}
      ;;
    *)
      hpcorch_first "${OMPI_COMM_WORLD_LOCAL_SIZE-}" "${MPI_LOCALNRANKS-}" "${PMI_LOCAL_SIZE-}" \
        "$HPCORCH_RANKS_PER_NODE"
      HPCORCH_LOCAL_SIZE=$REPLY
      hpcorch_first "${OMPI_COMM_WORLD_LOCAL_RANK-}" "${MPI_LOCALRANKID-}" \
        "${PALS_LOCAL_RANKID-}" "${PMI_LOCAL_RANK-}" 0
      HPCORCH_LOCAL_RANK=$REPLY
      ;;
  esac
}

# hpcorch_widest_cpus: all CPUs that the kernel would let this process use, in HPCORCH_NUMBERS.
hpcorch_widest_cpus() {
  local key value=""
  read -r key value < <(
    taskset -c "$(</sys/devices/system/cpu/possible)" grep Cpus_allowed_list: /proc/self/status
  ) || true
  hpcorch_expand "$value"
}

# hpcorch_node_cpus: the CPUs that the job has on this node, in HPCORCH_ALLOWED. A process that was
# launched may be bound to a few of them, which is its own share and not the node's.
hpcorch_node_cpus() {
  local online granted
  hpcorch_cpus_of self
  HPCORCH_ALLOWED=("${HPCORCH_NUMBERS[@]}")
  case $HPCORCH_LAUNCHER in
    '') ;;
    srun)
      hpcorch_expand "$(</sys/devices/system/cpu/online)"
      online=${#HPCORCH_NUMBERS[@]}
      hpcorch_widest_cpus
      if ((${#HPCORCH_NUMBERS[@]} < online || ${SLURM_CPUS_ON_NODE:-0} >= online)); then
        # A cpuset confines the job, or all of the node is the job's.
        HPCORCH_ALLOWED=("${HPCORCH_NUMBERS[@]}")
      else
        hpcorch_all_ranks_cpus
      fi
      ;;
    *)
      # The launcher's process on this node, from which all ranks descend, is not bound itself.
      hpcorch_widest_cpus
      granted=("${HPCORCH_NUMBERS[@]}")
      hpcorch_cpus_of "$HPCORCH_STARTER_PID"
      hpcorch_common "${HPCORCH_NUMBERS[@]}" -- "${granted[@]}"
      hpcorch_unite ${HPCORCH_NUMBERS[@]+"${HPCORCH_NUMBERS[@]}"}
      ;;
  esac
}

# hpcorch_unite CPU...: adds these to HPCORCH_ALLOWED, in the order of their numbers.
hpcorch_unite() {
  mapfile -t HPCORCH_ALLOWED < <(printf '%d\n' "${HPCORCH_ALLOWED[@]}" "$@" | sort -nu)
}

# hpcorch_all_ranks_cpus: where only masks separate jobs, theirs are all that is known; waits until
# all ranks of this node have said which CPUs they have.
hpcorch_all_ranks_cpus() {
  local files deadline words=()
  hpcorch_clock
  deadline=$((REPLY + HPCORCH_BOOT_SECONDS * 100))
  while files=("$HPCORCH_SHARED/ranks/"*) && ((${#files[@]} < HPCORCH_LOCAL_SIZE)); do
    hpcorch_clock
    ((REPLY < deadline)) || break
    hpcorch_pause 20
  done
  read -r -d '' -a words < <(cat -- "${files[@]}") || true
  if ((${#words[@]})); then hpcorch_unite "${words[@]}"; fi
}

# hpcorch_domains: where servers are to run: each domain's number (or - for the whole node) and its
# CPUs, of those that the job has, in HPCORCH_DOMAINS.
hpcorch_domains() {
  local folder
  HPCORCH_DOMAINS=()
  if [[ $HPCORCH_PER == numa ]]; then
    for folder in "$HPCORCH_TOPOLOGY"/node[0-9]*; do
      [[ -r $folder/cpulist ]] || continue
      hpcorch_expand "$(<"$folder/cpulist")"
      hpcorch_common "${HPCORCH_ALLOWED[@]}" -- ${HPCORCH_NUMBERS[@]+"${HPCORCH_NUMBERS[@]}"}
      ((${#HPCORCH_NUMBERS[@]})) || continue
      HPCORCH_DOMAINS+=("${folder##*/node} ${HPCORCH_NUMBERS[*]}")
    done
  fi
  if ((${#HPCORCH_DOMAINS[@]} == 0)); then HPCORCH_DOMAINS=("- ${HPCORCH_ALLOWED[*]}"); fi
}

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

# hpcorch_before_ranks: runs on each node when its servers answer, before the first rank starts.
hpcorch_before_ranks() {
  :
}

# A user's program: it waits for its databases, gets their addresses, and its exit code counts.
# Reads: HPCORCH_PROGRAM HPCORCH_PROGRAM_ENV HPCORCH_DEADLINE_SECONDS HPCORCH_ALL_GET_TERM
#        HPCORCH_ONE_NODE

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

# hpcorch_own_session: Open MPI keeps files where all launches of a user on a node meet, and one of two
# that begin at the same moment may fail there: one of a single node gets a place of its own.
hpcorch_own_session() {
  if [[ -n ${OMPI_MCA_orte_tmpdir_base-} ]]; then return 0; fi
  case ${HPCORCH_COMMAND[0]} in
    mpirun | mpiexec | orterun)
      hpcorch_node_dir
      # The second is what newer ones read.
      export OMPI_MCA_orte_tmpdir_base=$HPCORCH_NODE_DIR PRTE_MCA_prte_tmpdir_base=$HPCORCH_NODE_DIR
      ;;
  esac
}

# hpcorch_pass_on SIGNAL: the program is asked to end. A second SIGTERM would break off what it saves
# because of the first, which all processes of a job get in most batch systems.
hpcorch_pass_on() {
  if [[ $1 == TERM && $HPCORCH_ALL_GET_TERM == 1 ]]; then return 0; fi
  if [[ ${HPCORCH_COMMAND[0]} == srun ]]; then
    hpcorch_end_srun "$HPCORCH_CHILD"
  else
    kill -TERM "$HPCORCH_CHILD" 2>/dev/null || true
  fi
}

# hpcorch_run_program: runs it byte for byte as it was described; its exit code is the task's.
hpcorch_run_program() {
  cd -- "$HPCORCH_WORK_DIR" || hpcorch_fail "cannot enter $HPCORCH_WORK_DIR"
  HPCORCH_COMMAND=("${HPCORCH_PROGRAM[@]}")
  if declare -F hpcorch_prepare_ranks >/dev/null; then hpcorch_prepare_ranks; fi
  if ((HPCORCH_ONE_NODE)); then hpcorch_own_session; fi
  hpcorch_shield "${HPCORCH_COMMAND[0]}"
  hpcorch_exec env -- ${HPCORCH_PROGRAM_ENV[@]+"${HPCORCH_PROGRAM_ENV[@]}"} \
    ${HPCORCH_SHIELD[@]+"${HPCORCH_SHIELD[@]}"} "${HPCORCH_COMMAND[@]}" \
    {HPCORCH_OUTER}>&- {HPCORCH_IDLE}>&- &
  HPCORCH_CHILD=$!
  hpcorch_await "$HPCORCH_CHILD"
  HPCORCH_CHILD=""
  HPCORCH_CODE=$REPLY
  if ((HPCORCH_CODE != 0)); then
    HPCORCH_REASON="the program ended with exit code $HPCORCH_CODE"
    if ((HPCORCH_CODE == 127)); then
      HPCORCH_REASON+=": is ${HPCORCH_PROGRAM[0]} on $(uname -n)?"
    fi
    # What kept a process from starting the program says more than its code.
    if [[ -s $HPCORCH_RUN_DIR/shards/$HPCORCH_INDEX.failed ]]; then
      HPCORCH_REASON=$(<"$HPCORCH_RUN_DIR/shards/$HPCORCH_INDEX.failed")
    fi
  fi
}

HPCORCH_WORK_DIR=/scratch/exp/app
HPCORCH_ONE_NODE=0
HPCORCH_PROGRAM=(srun --nodes=2 --ntasks=8 --ntasks-per-node=4 --cpus-per-task=2 --mpi=pmix /opt/app/program 'in put')
HPCORCH_PROGRAM_ENV=()
HPCORCH_CLUSTER=0
HPCORCH_LAUNCHER_WORDS=6
HPCORCH_RANKS_PER_NODE=4
HPCORCH_PER=numa
HPCORCH_TOPOLOGY=${HPCORCH_TOPOLOGY:-/sys/devices/system/node}
HPCORCH_TRANSPORT=uds
HPCORCH_SUFFIX=''
HPCORCH_INTERFACES=()
HPCORCH_FIRST_PORT=6379
HPCORCH_PORT_STEP=1
HPCORCH_LAST_PORT=65535
HPCORCH_SOCKET_PATH=''
HPCORCH_SOCKET_MODE=700
HPCORCH_DB_CPUS=(0)
HPCORCH_LIMIT_APP=1
HPCORCH_SERVER=/opt/redis/redis-server
HPCORCH_SERVER_ENV=(GLIBC_TUNABLES=glibc.malloc.hugetlb=1)
HPCORCH_MODULES=()
HPCORCH_AI_COMMANDS=0
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
io-threads 1
disable-thp no
protected-mode yes
daemonize no
logfile ""
loglevel notice
HPCORCH_CONF
}

HPCORCH_CODE=0
hpcorch_begin
hpcorch_run_program
exit "$HPCORCH_CODE"
