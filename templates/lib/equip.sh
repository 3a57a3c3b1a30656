# shellcheck shell=bash
# Model workers for the servers of a node, beside a program.
# Reads: HPCORCH_SERVERS HPCORCH_SHARED

# hpcorch_equip_servers: workers and models for each of a node's servers, one after the other.
hpcorch_equip_servers() {
  local line domain taken near address
  # Loading may take long: ranks wait as long as this process lives.
  hpcorch_publish "$HPCORCH_SHARED/loading" "$BASHPID"
  for line in "${HPCORCH_SERVERS[@]}"; do
    read -r domain taken near address <<<"$line"
    hpcorch_enter_server "$domain"
    # The first rank, from which all of this comes, may be bound to a single CPU.
    if [[ $taken == - ]]; then taken=$near; fi
    HPCORCH_PIN_SERVER=()
    if command -v taskset >/dev/null; then HPCORCH_PIN_SERVER=(taskset -c "$taken"); fi
    hpcorch_expand "$near"
    hpcorch_start_workers "" "$address" Standalone "${HPCORCH_NUMBERS[@]}"
    hpcorch_load_models
  done
}
