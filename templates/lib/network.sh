# shellcheck shell=bash
# Addresses and ports of this node, and short questions to a server.

# hpcorch_interface_ip NAME: the IPv4 address of that interface, in REPLY.
hpcorch_interface_ip() {
  if [[ $1 == lo ]]; then
    REPLY=127.0.0.1
    return 0
  fi
  local words=()
  read -r -a words < <(ip -o -4 addr show dev "$1" scope global 2>/dev/null) || return 1
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

# hpcorch_ask IP PORT COMMAND: the reply to an inline command, as the server's administrator.
hpcorch_ask() {
  if [[ $HPCORCH_DATA_TLS == 1 ]]; then
    REDISCLI_AUTH=$HPCORCH_ADMIN_PASSWORD "$HPCORCH_CLI" -h "$1" -p "$2" --user hpcorch \
      --no-auth-warning --tls --cacert "$HPCORCH_RUN_DIR/tls/ca.crt" \
      --cert "$HPCORCH_RUN_DIR/tls/node.crt" --key "$HPCORCH_RUN_DIR/tls/node.key" \
      "${@:3}" 2>/dev/null
  else
    hpcorch_ask_plain "$1" "$2" "${*:3}"
  fi
}

hpcorch_ask_plain() (
  # A server that goes away must not end this script with SIGPIPE.
  trap '' PIPE
  { exec {socket}<>"/dev/tcp/$1/$2"; } 2>/dev/null || exit 1
  if [[ -n $HPCORCH_ADMIN_PASSWORD ]]; then
    printf 'AUTH hpcorch %s\r\n' "$HPCORCH_ADMIN_PASSWORD" >&"$socket"
    IFS= read -r -t 5 -u "$socket" line && [[ $line == +OK* ]] || exit 1
  fi
  printf '%s\r\n' "$3" >&"$socket"
  IFS= read -r -t 5 -u "$socket" line || exit 1
  line=${line%$'\r'}
  case $line in
    +*) printf '%s\n' "${line#+}" ;;
    \$*) LC_ALL=C IFS= read -r -t 5 -N "${line#\$}" -u "$socket" line && printf '%s\n' "$line" ;;
    *) exit 1 ;;
  esac
)
