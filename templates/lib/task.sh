# shellcheck shell=bash
# What a task of an ensemble runs: its row in the table of tasks, which tells its number too.
# Reads: HPCORCH_RUN_DIR HPCORCH_NAME HPCORCH_TABLE_ROWS

# hpcorch_words LINE: its words in HPCORCH_WORDS: tabs end them, and what could be mistaken is
# escaped with backslashes.
hpcorch_words() {
  local place
  mapfile -t -d $'\t' HPCORCH_WORDS < <(printf '%s' "$1")
  for place in "${!HPCORCH_WORDS[@]}"; do
    if [[ ${HPCORCH_WORDS[place]} == *\\* ]]; then
      printf -v "HPCORCH_WORDS[$place]" '%b' "${HPCORCH_WORDS[place]}"
    fi
  done
}

# hpcorch_lines FILE SKIP COUNT: that many lines after the first SKIP (COUNT 0: all) in HPCORCH_LINES.
hpcorch_lines() {
  local tries=0
  # A network file system may show new files late.
  until { mapfile -t -s "$2" -n "$3" HPCORCH_LINES <"$1"; } 2>/dev/null && ((${#HPCORCH_LINES[@]})); do
    ((++tries <= 30)) || return 1
    sleep 1
  done
}

# hpcorch_read_task ROW: that row's words in HPCORCH_TASK, the task's number in HPCORCH_INDEX.
hpcorch_read_task() {
  local file=$HPCORCH_RUN_DIR/task-table/$(($1 / HPCORCH_TABLE_ROWS)).tsv
  HPCORCH_ROW=$1
  if ! hpcorch_lines "$file" $((HPCORCH_ROW % HPCORCH_TABLE_ROWS)) 1; then
    printf '%s: error: there is no row %d in %s\n' "$HPCORCH_NAME" "$1" "$file" >&2
    exit 1
  fi
  hpcorch_words "${HPCORCH_LINES[0]}"
  HPCORCH_TASK=("${HPCORCH_WORDS[@]}")
  HPCORCH_INDEX=${HPCORCH_TASK[0]}
}

# hpcorch_take_task: the row's program is run in the row's directory, where its output can be found.
# A row is: number, name, directory, number of its list of files or -, count of parameters, their
# names and values, count of variables, variables, program and arguments.
hpcorch_take_task() {
  local at=$((5 + 2 * HPCORCH_TASK[4])) count ending link
  HPCORCH_WORK_DIR=${HPCORCH_TASK[2]}
  count=${HPCORCH_TASK[at]}
  HPCORCH_PROGRAM_ENV=("${HPCORCH_TASK[@]:at+1:count}")
  HPCORCH_PROGRAM=("${HPCORCH_TASK[@]:at+1+count}")
  mkdir -p -- "$HPCORCH_WORK_DIR" || hpcorch_fail "cannot make the directory $HPCORCH_WORK_DIR"
  for ending in out err; do
    link=$HPCORCH_WORK_DIR/${HPCORCH_TASK[1]}.$ending
    if [[ -e $link && ! -L $link ]]; then continue; fi
    ln -sfn -- "$HPCORCH_RUN_DIR/logs/$HPCORCH_NAME.$HPCORCH_INDEX.$ending" "$link"
  done
  if [[ ${HPCORCH_TASK[3]} != - ]]; then hpcorch_put_files "${HPCORCH_TASK[3]}"; fi
}
