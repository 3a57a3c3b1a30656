# shellcheck shell=bash
# The input files of an ensemble's members, which their nodes copy, link to and configure.
# Reads: HPCORCH_RUN_DIR HPCORCH_INDEX HPCORCH_TASK HPCORCH_WORK_DIR HPCORCH_UMASK

# hpcorch_put_files NUMBER: does what list NUMBER of the table says; else the task ends with code 66.
# Its lines are: marker TEXT, record JSON, folder TARGET, copy FOLDER SOURCES, link TARGET TEXT,
# configure TARGET SOURCE. Targets are inside the member's directory, in which nothing is written through a link.
hpcorch_put_files() {
  local file=$HPCORCH_RUN_DIR/task-table/files.$1 said HPCORCH_FAILURE=66
  hpcorch_take_parameters
  hpcorch_lines "$file" 0 0 || hpcorch_fail "the list of its input files is missing: $file"
  said=$(umask "$HPCORCH_UMASK" && hpcorch_work_off 2>&1) ||
    hpcorch_fail "its input files could not be put in place: ${said//$'\n'/; }"
  said=$(hpcorch_write_parameters 2>&1) || hpcorch_fail "its parameters could not be written down: $said"
}

# hpcorch_take_parameters: the row's, with their order in HPCORCH_PARAM_NAMES.
hpcorch_take_parameters() {
  local at name
  declare -gA HPCORCH_PARAMS=()
  HPCORCH_PARAM_NAMES=()
  for ((at = 5; at < 5 + 2 * HPCORCH_TASK[4]; at += 2)); do
    name=${HPCORCH_TASK[at]}
    HPCORCH_PARAMS[$name]=${HPCORCH_TASK[at + 1]}
    HPCORCH_PARAM_NAMES+=("$name")
  done
}

# hpcorch_work_off: what HPCORCH_LINES say, one after the other.
hpcorch_work_off() {
  local text target
  for text in "${HPCORCH_LINES[@]}"; do
    hpcorch_words "$text"
    target=$HPCORCH_WORK_DIR/${HPCORCH_WORDS[1]}
    case ${HPCORCH_WORDS[0]} in
      marker) HPCORCH_MARKER=${HPCORCH_WORDS[1]} ;;
      folder) hpcorch_make_folders "${HPCORCH_WORDS[1]}/" ;;
      copy) hpcorch_copy "${HPCORCH_WORDS[@]:1}" ;;
      link)
        hpcorch_make_folders "${HPCORCH_WORDS[1]}" &&
          ln -sfT -- "${HPCORCH_WORDS[2]}" "$target"
        ;;
      configure)
        hpcorch_make_folders "${HPCORCH_WORDS[1]}" &&
          hpcorch_configure "${HPCORCH_WORDS[2]}" "$target"
        ;;
    esac || return 1
  done
}

# hpcorch_copy FOLDER SOURCE...: copies with the modes of the sources.
hpcorch_copy() {
  local folder=$HPCORCH_WORK_DIR/$1 source
  hpcorch_make_folders "$1/" || return 1
  for source in "${@:2}"; do
    if [[ -L $folder/${source##*/} ]]; then rm -f -- "$folder/${source##*/}" || return 1; fi
  done
  cp --remove-destination --preserve=mode --target-directory="$folder" -- "${@:2}"
}

# hpcorch_make_folders TARGET: makes those that TARGET is in; a link there would lead elsewhere.
hpcorch_make_folders() {
  local at=$HPCORCH_WORK_DIR rest=$1
  while [[ $rest == */* ]]; do
    at+=/${rest%%/*}
    rest=${rest#*/}
    if [[ -L $at ]]; then rm -f -- "$at" || return 1; fi
    [[ -d $at ]] || mkdir -- "$at" || return 1
  done
}

# hpcorch_write_parameters: with which parameters and files the member starts, for whoever looks later.
hpcorch_write_parameters() {
  local text rest="" name pairs=""
  for text in "${HPCORCH_LINES[@]}"; do
    [[ $text == record$'\t'* ]] || continue
    hpcorch_words "$text"
    rest=${HPCORCH_WORDS[1]}
  done
  for name in ${HPCORCH_PARAM_NAMES[@]+"${HPCORCH_PARAM_NAMES[@]}"}; do
    hpcorch_json "$name"
    pairs+="${pairs:+, }\"$REPLY\": "
    hpcorch_json "${HPCORCH_PARAMS[$name]}"
    pairs+="\"$REPLY\""
  done
  hpcorch_json "${HPCORCH_TASK[1]}"
  hpcorch_publish "$HPCORCH_WORK_DIR/hpcorch_params.json" \
    "{\"name\": \"$REPLY\", \"params\": {$pairs}, $rest}"
}
