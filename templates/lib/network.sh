# shellcheck shell=bash
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
