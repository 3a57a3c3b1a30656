# shellcheck shell=bash
# Environment modules (Environment Modules, Lmod) that the site has every job load.

# hpcorch_load_modules NAME...: loads them; the task fails with the first that cannot be had.
hpcorch_load_modules() {
  local name file code=0
  # The module command is not written for these.
  set +euo pipefail
  if ! type module &>/dev/null; then
    # No login shell has defined it: its own file does.
    for file in "${MODULESHOME:+$MODULESHOME/init/bash}" "${LMOD_PKG:+$LMOD_PKG/init/bash}" \
      /etc/profile.d/modules.sh /etc/profile.d/lmod.sh \
      /usr/share/modules/init/bash /usr/share/lmod/lmod/init/bash; do
      # shellcheck source=/dev/null
      if [[ -r $file ]] && source "$file" && type module &>/dev/null; then break; fi
    done
  fi
  for name in "$@"; do
    module load "$name" || { code=$? && break; }
  done
  eval "$HPCORCH_STRICT"
  if ((code)); then hpcorch_fail "module $name cannot be loaded on $HOSTNAME (code $code)"; fi
}
