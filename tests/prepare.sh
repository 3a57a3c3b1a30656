#!/usr/bin/env bash
# Makes sure that the programs which the tests call are there: installs the missing ones when it may
# (root, Debian or Ubuntu), else names them and fails. No service is started.
set -euo pipefail

# program:package; arguments are more of them.
needed=(
    "$@"
    redis-server:redis-server
    redis-cli:redis-tools
    gcc:gcc
    openssl:openssl
    numactl:numactl
    setsid:util-linux
    taskset:util-linux
    setpriv:util-linux
    unshare:util-linux
    ip:iproute2
    git:git
    slurmctld:slurmctld
    slurmd:slurmd
    sbatch:slurm-client
    generate_pbs_nodefile:slurm-wlm-torque
    munged:munge
    nsenter:util-linux
    slurmdbd:slurmdbd
    mariadbd:mariadb-server-core
    my_print_defaults:mariadb-client-core
    mpirun.openmpi:openmpi-bin
    mpiexec.hydra:mpich
    modulecmd:environment-modules
    tmux:tmux
)

# Ordinary users often lack these folders in PATH, but their programs are there.
PATH=$PATH:/usr/sbin:/sbin

missing_packages() {
    local entry
    for entry in "${needed[@]}"; do
        command -v "${entry%%:*}" >/dev/null || echo "${entry##*:}"
    done | sort -u
    # The C library's headers are no program either.
    [[ -e /usr/include/stdio.h ]] || echo libc6-dev
    # A plugin of slurmdbd is no program.
    compgen -G '/usr/lib/*/slurm-wlm/accounting_storage_mysql.so' >/dev/null || echo slurm-wlm-mysql-plugin
}

may_install() {
    [[ $EUID -eq 0 && -e /etc/debian_version ]] && command -v apt-get >/dev/null
}

# Debian asks this file before it starts a service; one that is already there is left alone.
forbid_service_start() {
    local policy=/usr/sbin/policy-rc.d
    [[ -e $policy ]] && return
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
}

if ((BASH_VERSINFO[0] * 100 + BASH_VERSINFO[1] < 404)); then
    echo "tests/prepare.sh: bash 4.4 or newer is needed, this is $BASH_VERSION" >&2
    exit 1
fi

mapfile -t packages < <(missing_packages)
((${#packages[@]} == 0)) && exit 0

if ! may_install; then
    echo "tests/prepare.sh: please install what the tests need: ${packages[*]}" >&2
    exit 1
fi

echo "tests/prepare.sh: installing ${packages[*]}"
forbid_service_start
export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
apt-get update -qq
apt-get install -qq -y --no-install-recommends "${packages[@]}" >/dev/null

mapfile -t packages < <(missing_packages)
if ((${#packages[@]})); then
    echo "tests/prepare.sh: installed, but their programs are still not found: ${packages[*]}" >&2
    exit 1
fi
