# shellcheck shell=bash
# Why a signal came. Reads: HPCORCH_WALLTIME_SECONDS HPCORCH_STARTED

# hpcorch_signal_meaning: PBS sends SIGTERM when somebody deletes a job and when its walltime is
# over. The second is recorded as the warning that other batch systems send then.
hpcorch_signal_meaning() {
  # The clock of PBS began a little before this script did; how much shows in short walltimes.
  local slack=$((HPCORCH_WALLTIME_SECONDS < 10 ? HPCORCH_WALLTIME_SECONDS / 2 : 5))
  [[ $HPCORCH_SIGNAL == TERM ]] && ((HPCORCH_WALLTIME_SECONDS)) || return 0
  hpcorch_clock
  if ((REPLY - HPCORCH_STARTED >= (HPCORCH_WALLTIME_SECONDS - slack) * 100)); then
    HPCORCH_SIGNAL=USR1
  fi
}
