# shellcheck shell=bash
# What a process of a job step must know of its node: its name, its neighbours, the job's CPUs.
# Reads: HPCORCH_LAUNCHER HPCORCH_RANKS_PER_NODE HPCORCH_TOPOLOGY HPCORCH_PER

# hpcorch_node_name: the name of this node without its domain, in HPCORCH_NODE. MPI's launchers carry
# Slurm's variables of one node to all others, srun sets them anew.
hpcorch_node_name() {
  HPCORCH_NODE=$(uname -n)
  if [[ $HPCORCH_LAUNCHER == srun ]]; then HPCORCH_NODE=${SLURMD_NODENAME:-$HPCORCH_NODE}; fi
  HPCORCH_NODE=${HPCORCH_NODE%%.*}
}

# hpcorch_slurm_count COUNTS INDEX: the number at INDEX of Slurm's short form 4(x2),1; in REPLY.
hpcorch_slurm_count() {
  local part at=0
  REPLY=0
  for part in ${1//,/ }; do
    REPLY=${part%%(*}
    if [[ $part =~ \(x([0-9]+)\) ]]; then at=$((at + BASH_REMATCH[1])); else at=$((at + 1)); fi
    if ((at > $2)); then return 0; fi
  done
}

# hpcorch_first TEXT...: the first that is not empty, in REPLY.
hpcorch_first() {
  for REPLY in "$@"; do if [[ -n $REPLY ]]; then return 0; fi; done
}

# hpcorch_count_ranks: how many processes the program has on this node and which one this is, in
# HPCORCH_LOCAL_SIZE and HPCORCH_LOCAL_RANK. Each launcher says so in its own way.
hpcorch_count_ranks() {
  HPCORCH_LOCAL_SIZE=$HPCORCH_RANKS_PER_NODE HPCORCH_LOCAL_RANK=0
  case $HPCORCH_LAUNCHER in
    '') HPCORCH_LOCAL_SIZE=1 ;;
    srun)
      hpcorch_slurm_count "${SLURM_STEP_TASKS_PER_NODE:-$HPCORCH_RANKS_PER_NODE}" "${SLURM_NODEID:-0}"
      HPCORCH_LOCAL_SIZE=$REPLY HPCORCH_LOCAL_RANK=${SLURM_LOCALID:-0}
      ;;
    *)
      hpcorch_first "${OMPI_COMM_WORLD_LOCAL_SIZE-}" "${MPI_LOCALNRANKS-}" "${PMI_LOCAL_SIZE-}" \
        "$HPCORCH_RANKS_PER_NODE"
      HPCORCH_LOCAL_SIZE=$REPLY
      hpcorch_first "${OMPI_COMM_WORLD_LOCAL_RANK-}" "${MPI_LOCALRANKID-}" \
        "${PALS_LOCAL_RANKID-}" "${PMI_LOCAL_RANK-}" 0
      HPCORCH_LOCAL_RANK=$REPLY
      ;;
  esac
}

# hpcorch_widest_cpus: all CPUs that the kernel would let this process use, in HPCORCH_NUMBERS.
hpcorch_widest_cpus() {
  local key value=""
  read -r key value < <(
    taskset -c "$(</sys/devices/system/cpu/possible)" grep Cpus_allowed_list: /proc/self/status
  ) || true
  hpcorch_expand "$value"
}

# hpcorch_node_cpus: the CPUs that the job has on this node, in HPCORCH_ALLOWED. A process that was
# launched may be bound to a few of them, which is its own share and not the node's.
hpcorch_node_cpus() {
  local online granted
  hpcorch_cpus_of self
  HPCORCH_ALLOWED=("${HPCORCH_NUMBERS[@]}")
  case $HPCORCH_LAUNCHER in
    '') ;;
    srun)
      hpcorch_expand "$(</sys/devices/system/cpu/online)"
      online=${#HPCORCH_NUMBERS[@]}
      hpcorch_widest_cpus
      if ((${#HPCORCH_NUMBERS[@]} < online || ${SLURM_CPUS_ON_NODE:-0} >= online)); then
        # A cpuset confines the job, or all of the node is the job's.
        HPCORCH_ALLOWED=("${HPCORCH_NUMBERS[@]}")
      else
        hpcorch_all_ranks_cpus
      fi
      ;;
    *)
      # The launcher's process on this node, from which all ranks descend, is not bound itself.
      hpcorch_widest_cpus
      granted=("${HPCORCH_NUMBERS[@]}")
      hpcorch_cpus_of "$HPCORCH_STARTER_PID"
      hpcorch_common "${HPCORCH_NUMBERS[@]}" -- "${granted[@]}"
      hpcorch_unite ${HPCORCH_NUMBERS[@]+"${HPCORCH_NUMBERS[@]}"}
      ;;
  esac
}

# hpcorch_unite CPU...: adds these to HPCORCH_ALLOWED, in the order of their numbers.
hpcorch_unite() {
  mapfile -t HPCORCH_ALLOWED < <(printf '%d\n' "${HPCORCH_ALLOWED[@]}" "$@" | sort -nu)
}

# hpcorch_all_ranks_cpus: where only masks separate jobs, theirs are all that is known; waits until
# all ranks of this node have said which CPUs they have.
hpcorch_all_ranks_cpus() {
  local files deadline words=()
  hpcorch_clock
  deadline=$((REPLY + HPCORCH_BOOT_SECONDS * 100))
  while files=("$HPCORCH_SHARED/ranks/"*) && ((${#files[@]} < HPCORCH_LOCAL_SIZE)); do
    hpcorch_clock
    ((REPLY < deadline)) || break
    hpcorch_pause 20
  done
  read -r -d '' -a words < <(cat -- "${files[@]}") || true
  if ((${#words[@]})); then hpcorch_unite "${words[@]}"; fi
}

# hpcorch_domains: where servers are to run: each domain's number (or - for the whole node) and its
# CPUs, of those that the job has, in HPCORCH_DOMAINS.
hpcorch_domains() {
  local folder
  HPCORCH_DOMAINS=()
  if [[ $HPCORCH_PER == numa ]]; then
    for folder in "$HPCORCH_TOPOLOGY"/node[0-9]*; do
      [[ -r $folder/cpulist ]] || continue
      hpcorch_expand "$(<"$folder/cpulist")"
      hpcorch_common "${HPCORCH_ALLOWED[@]}" -- ${HPCORCH_NUMBERS[@]+"${HPCORCH_NUMBERS[@]}"}
      ((${#HPCORCH_NUMBERS[@]})) || continue
      HPCORCH_DOMAINS+=("${folder##*/node} ${HPCORCH_NUMBERS[*]}")
    done
  fi
  if ((${#HPCORCH_DOMAINS[@]} == 0)); then HPCORCH_DOMAINS=("- ${HPCORCH_ALLOWED[*]}"); fi
}
