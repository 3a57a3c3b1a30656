# shellcheck shell=bash
# Input files with markers, as hpcorch/plan/configure.py replaces them, on the node.
# Reads: HPCORCH_MARKER

# hpcorch_read_parameters FILE: names and values, each with a NUL byte behind it, in HPCORCH_PARAMS.
hpcorch_read_parameters() {
  # Bytes, whatever they mean in the user's language; else a broken letter may swallow the NUL.
  local LC_ALL=C name value
  declare -gA HPCORCH_PARAMS=()
  while IFS= read -r -d '' name && IFS= read -r -d '' value; do
    HPCORCH_PARAMS[$name]=$value
  done <"$1"
}

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
  local LC_ALL=C lines=() index text
  if IFS= read -r -d '' text <"$1"; then
    cp -- "$1" "$2.tmp"
  else
    mapfile lines <"$1"
    for index in "${!lines[@]}"; do
      [[ ${lines[index]} == *"$HPCORCH_MARKER"* ]] || continue
      hpcorch_configure_line "${lines[index]}"
      lines[index]=$REPLY
    done
    printf '%s' ${lines[@]+"${lines[@]}"} >"$2.tmp"
  fi
  chmod --reference="$1" -- "$2.tmp"
  mv -f -- "$2.tmp" "$2"
}
