# shellcheck shell=bash
# Input files with markers, as hpcorch/plan/configure.py replaces them, on the node.
# Reads: HPCORCH_MARKER HPCORCH_PARAMS (values by name)

# hpcorch_configure_line LINE: LINE with its markers replaced, in REPLY.
hpcorch_configure_line() {
  local rest=$1 name
  REPLY=""
  while [[ $rest == *"$HPCORCH_MARKER"*"$HPCORCH_MARKER"* ]]; do
    REPLY+=${rest%%"$HPCORCH_MARKER"*}
    rest=${rest#*"$HPCORCH_MARKER"}
    name=${rest%%"$HPCORCH_MARKER"*}
    if [[ -z $name ]]; then
      # Nothing stands between the two: the second one may begin a marker.
      REPLY+=$HPCORCH_MARKER
      continue
    fi
    rest=${rest#*"$HPCORCH_MARKER"}
    REPLY+=${HPCORCH_PARAMS[$name]-$name}
  done
  REPLY+=$rest
}

# hpcorch_configure SOURCE TARGET: TARGET appears whole, with the mode of SOURCE; binary files stay
# as they are.
hpcorch_configure() {
  # Bytes, whatever they mean in the user's language; else a broken letter may swallow the NUL.
  local LC_ALL=C lines=() index text
  if [[ ! -f $1 || ! -r $1 ]]; then
    printf 'there is no readable file %s\n' "$1" >&2
    return 1
  fi
  if IFS= read -r -d '' text <"$1"; then
    cp -- "$1" "$2.tmp" || return 1
  else
    mapfile lines <"$1"
    for index in "${!lines[@]}"; do
      [[ ${lines[index]} == *"$HPCORCH_MARKER"* ]] || continue
      hpcorch_configure_line "${lines[index]}"
      lines[index]=$REPLY
    done
    printf '%s' ${lines[@]+"${lines[@]}"} >"$2.tmp" || return 1
  fi
  chmod --reference="$1" -- "$2.tmp" && mv -fT -- "$2.tmp" "$2"
}
