# shellcheck shell=bash disable=SC2034 # the hooks read what is set here
# What the three hooks share. Builtins only: no program of the host is looked up before PATH is ours.
#
# A step's `env:` reaches these hooks. It must not choose a program or a file of the host, so where the runner is, and
# whether repository hooks may run, is read from plugin.conf and from nowhere else: /etc/cleanroom/plugin.conf, else
# plugin.conf beside plugin.yml (as trusted as these hooks).

cleanroom_runner=""
cleanroom_repository_hooks="deny"

cleanroom_fail() {
  printf '\033[31mcleanroom: %s\033[0m\n' "$1" >&2
  exit "${2:-78}"
}

# cleanroom_read_config PLUGIN_DIR: lines KEY=VALUE; '#' starts a comment line.
cleanroom_read_config() {
  local file line key value
  for file in /etc/cleanroom/plugin.conf "$1/plugin.conf"; do
    [[ -f $file ]] || continue
    while IFS= read -r line || [[ -n $line ]]; do
      [[ -z $line || $line == '#'* ]] && continue
      key=${line%%=*}
      value=${line#*=}
      case $line in
        runner=/*) cleanroom_runner=$value ;;
        repository_hooks=allow | repository_hooks=deny) cleanroom_repository_hooks=$value ;;
        *) cleanroom_fail "cannot read '$file': bad line for '$key' (runner=/PATH, repository_hooks=allow|deny)" ;;
      esac
    done <"$file"
    return 0
  done
}

# cleanroom_find_runner PLUGIN_DIR: sets cleanroom_runner, or fails.
cleanroom_find_runner() {
  local candidate
  if [[ -n $cleanroom_runner ]]; then
    [[ -x $cleanroom_runner ]]
    return
  fi
  for candidate in "$1/bin/cleanroom-run" {/usr/local,/usr,/opt/cleanroom}/bin/cleanroom-run; do
    if [[ -f $candidate && -x $candidate ]]; then
      cleanroom_runner=$candidate
      return 0
    fi
  done
  return 1
}

# The environment that the runner starts with: what decides which files and programs of the host are used is dropped or
# set anew; the rest is what the job's variables are taken from.
cleanroom_clean_environment() {
  local name
  for name in "${!CLEANROOM_@}" "${!XDG_@}" "${!LD_@}" "${!MALLOC_@}" "${!OPENSSL_@}" "${!SSL_@}" "${!RES_@}" "${!RESOLV_@}" LOCALDOMAIN BASH_ENV ENV GCONV_PATH GLIBC_TUNABLES LOCPATH \
    NLSPATH HOSTALIASES GETCONF_DIR QEMU_LD_PREFIX TMPDIR; do
    unset -v "$name"
  done
  unset -v HOME # then ~ is what the user database says
  export HOME=~
  export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
}
