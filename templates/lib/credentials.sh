# shellcheck shell=bash
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
