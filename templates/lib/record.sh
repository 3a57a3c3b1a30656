# shellcheck shell=bash
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
