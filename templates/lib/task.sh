# shellcheck shell=bash
# What a task of an ensemble runs: its row in the table of tasks, which tells its number too.
# Reads: HPCORCH_RUN_DIR HPCORCH_NAME HPCORCH_TABLE_ROWS

# hpcorch_read_task ROW: that row's words in HPCORCH_TASK, the task's number in HPCORCH_INDEX.
# A row is: number, name, parameters, directory, count of variables, variables, program and
# arguments; tabs end words, and what could be mistaken is escaped with backslashes.
hpcorch_read_task() {
  local file=$HPCORCH_RUN_DIR/task-table/$(($1 / HPCORCH_TABLE_ROWS)).tsv lines=() tries=0 place
  HPCORCH_ROW=$1
  # A network file system may show new files late.
  until { mapfile -t -s $((HPCORCH_ROW % HPCORCH_TABLE_ROWS)) -n 1 lines <"$file"; } 2>/dev/null &&
    ((${#lines[@]})); do
    if ((++tries > 30)); then
      printf '%s: error: there is no row %d in %s\n' "$HPCORCH_NAME" "$1" "$file" >&2
      exit 1
    fi
    sleep 1
  done
  mapfile -t -d $'\t' HPCORCH_TASK < <(printf '%s' "${lines[0]}")
  for place in "${!HPCORCH_TASK[@]}"; do
    printf -v "HPCORCH_TASK[$place]" '%b' "${HPCORCH_TASK[place]}"
  done
  HPCORCH_INDEX=${HPCORCH_TASK[0]}
}

# hpcorch_take_task: the row's program is run in the row's directory, where its output can be found.
hpcorch_take_task() {
  local variables=${HPCORCH_TASK[4]} ending link
  HPCORCH_WORK_DIR=${HPCORCH_TASK[3]}
  HPCORCH_PROGRAM_ENV=("${HPCORCH_TASK[@]:5:variables}")
  HPCORCH_PROGRAM=("${HPCORCH_TASK[@]:5+variables}")
  mkdir -p -- "$HPCORCH_WORK_DIR" || hpcorch_fail "cannot make the directory $HPCORCH_WORK_DIR"
  for ending in out err; do
    link=$HPCORCH_WORK_DIR/${HPCORCH_TASK[1]}.$ending
    if [[ -e $link && ! -L $link ]]; then continue; fi
    ln -sfn -- "$HPCORCH_RUN_DIR/logs/$HPCORCH_NAME.$HPCORCH_INDEX.$ending" "$link"
  done
}
