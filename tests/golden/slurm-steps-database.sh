#!/bin/bash
# database orchestrator, 3 task(s)
# made by hpcorch 0.0.0 from slurm-steps/database.sh.j2 (template context 1)
# to submit it by hand: bash THIS_FILE
# sha256 of what follows: d1c70a6da81181f3986b6a57d14cb01271a8873f35639c06efd2663ac254e2ff
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

HPCORCH_KIND=database
HPCORCH_NAME=orchestrator
HPCORCH_RUN_DIR=/scratch/exp/orchestrator
HPCORCH_ELEMENTS=3
HPCORCH_GANG=true
HPCORCH_SCHEDULER=slurm-steps

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

HPCORCH_HOST_COUNT=3
HPCORCH_TASKS_PER_HOST=1
HPCORCH_RUN_ARGS=()

# Exit records of tasks that could not write their own.
# Reads: HPCORCH_RUN_DIR

# hpcorch_record INDEX JOB CODE REASON: writes it, unless the task has left one in that job.
hpcorch_record() {
  local file=$HPCORCH_RUN_DIR/exit/$1
  if [[ -e $file ]] && grep -qF "\"job\":\"$2\"" -- "$file"; then return 0; fi
  (
    umask 077
    mkdir -p -- "$HPCORCH_RUN_DIR/exit"
    printf '{"index":%d,"job":"%s","code":%d,"signal":null,"elapsed":0,"reason":"%s"}\n' "$@" \
      >"$file.tmp"
  )
  mv -f -- "$file.tmp" "$file"
}

# hpcorch_is_file: refuses a script that came through a pipe, since its tasks run it again.
hpcorch_is_file() {
  if [[ -n ${BASH_SOURCE[1]-} ]]; then return 0; fi
  printf '%s: error: write the script into a file and run it by: bash FILE\n' "$HPCORCH_NAME" >&2
  exit 2
}

# Tasks as one step of an allocation that is there already: this process starts and outlives them.
# Reads: HPCORCH_RUN_DIR HPCORCH_KIND HPCORCH_NAME HPCORCH_ELEMENTS HPCORCH_HOST_COUNT
#        HPCORCH_TASKS_PER_HOST HPCORCH_RUN_ARGS SLURM_JOB_ID

# hpcorch_step SCRIPT TOKEN: runs all tasks, ends with the step's exit code.
hpcorch_step() {
  local step index code=0 bind=()
  (umask 077 && mkdir -p -- "$HPCORCH_RUN_DIR/exit")
  # The servers on a node share its CPUs out among themselves; a program is bound as Slurm does it.
  if [[ $HPCORCH_KIND == database ]]; then bind=(--cpu-bind=none); fi
  # Other steps may use the same nodes: tasks of a database leave most of them idle.
  srun --jobid="$SLURM_JOB_ID" --job-name="$HPCORCH_NAME" --overlap --mem=0 \
    --nodes="$HPCORCH_HOST_COUNT" --ntasks="$HPCORCH_ELEMENTS" \
    --ntasks-per-node="$HPCORCH_TASKS_PER_HOST" ${bind[@]+"${bind[@]}"} \
    --kill-on-bad-exit=0 ${HPCORCH_RUN_ARGS[@]+"${HPCORCH_RUN_ARGS[@]}"} \
    bash "$1" --step-task "$$" "$2" </dev/null &
  step=$!
  trap 'hpcorch_end_srun "$step"' TERM INT HUP
  printf '%s: job %s runs %d task(s) as a step of job %s, logs are in %s\n' \
    "$HPCORCH_NAME" "$$" "$HPCORCH_ELEMENTS" "$SLURM_JOB_ID" "$HPCORCH_RUN_DIR/logs"
  wait "$step" || true
  while kill -0 "$step" 2>/dev/null; do wait "$step" || true; done
  wait "$step" || code=$?
  for ((index = 0; index < HPCORCH_ELEMENTS; index++)); do
    hpcorch_record "$index" "$$" "$((code ? code : 1))" \
      "the task died without a record; the step ended with code $code"
  done
  exit "$code"
}

case ${1-} in
  --step-task) ;;
  --token) hpcorch_step "$0" "$2" ;;
  *)
    hpcorch_is_file
    exec bash "$0" --token "by-hand-$(</proc/sys/kernel/random/uuid)"
    ;;
esac
HPCORCH_INDEX=$SLURM_PROCID
HPCORCH_JOB=$2
HPCORCH_TOKEN=$3
HPCORCH_GENERATION=0
HPCORCH_LABEL=$SLURM_JOB_ID.$SLURM_STEP_ID
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
  # Bash may have lost the code of a server that was asked to end: its last words tell it too.
  if ((REPLY == 143)) && tail -n 1 -- "$HPCORCH_SERVER_LOG" | grep -qF 'bye bye'; then REPLY=0; fi
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

HPCORCH_IDENTIFIER=orchestrator
HPCORCH_SUFFIX=''
HPCORCH_SHARDS=3
HPCORCH_CLUSTER=1
HPCORCH_NODE_IDS=(0c152a3e68cafd5b1a7347a62703d43d9d070ede 2191f907cf27e2470a5e8ed67103f1ca3723b24b 64a5e59c36a03b9eb550694d7c38b6ebedf9ebad)
HPCORCH_SLOTS=(0-5460 5461-10921 10922-16383)
HPCORCH_INTERFACES=(auto)
HPCORCH_FIRST_PORT=6379
HPCORCH_PORT_STEP=1
HPCORCH_LAST_PORT=50535
HPCORCH_DEADLINE_SECONDS=600
HPCORCH_RESTORE=''
HPCORCH_SECRETS=$HPCORCH_RUN_DIR
HPCORCH_PIN_SERVER=()
HPCORCH_SHARD_CPUS=()
HPCORCH_SERVER=/opt/redis/redis-server
HPCORCH_SERVER_ENV=(GLIBC_TUNABLES=glibc.malloc.hugetlb=1)
HPCORCH_MODULES=()
HPCORCH_AI_COMMANDS=0
HPCORCH_CLI=/opt/redis/redis-cli
HPCORCH_SECURITY=password
HPCORCH_DATA_TLS=0
HPCORCH_BUS_TLS=1
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
hpcorch_run_shard
exit "$HPCORCH_CODE"
