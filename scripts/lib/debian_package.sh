# shellcheck shell=bash
# Debian packages as files: downloaded with apt, without root, never installed. Sourced after common.sh, never run.

# download_package FOLDER FIND [refresh]: FIND is a function that prints name=version as apt's lists have it, or nothing.
# The package lands in FOLDER; sets $package_name, $package_version and $package_file. With `refresh` the lists are fetched
# first. apt verifies what it downloads against the signed lists.
download_package() {
  local folder=$1 find=$2 package
  mkdir -p "$folder"
  apt_log=$folder/apt.log
  # When root runs it, no other user has to read our folders.
  apt_options=(-q -o Acquire::Retries=3)
  [ "$(id -u)" != 0 ] || apt_options+=(-o APT::Sandbox::User=root)
  if [ "${3:-}" = refresh ]; then use_private_lists || die "cannot refresh the package lists"; fi
  package=$("$find")
  if [ -z "$package" ] || ! apt_download "$folder" "$package"; then
    use_private_lists || die "cannot fetch the package lists"
    package=$("$find")
    [ -n "$package" ] || die "no such package in the configured apt sources"
    apt_download "$folder" "$package" || { cat "$apt_log" >&2; die "cannot download '$package'"; }
  fi
  rm -f "$apt_log"
  package_name=${package%%=*} package_version=${package#*=}
  package_file=$(find "$folder" -maxdepth 1 -name "${package_name}_${package_version//:/%3a}_*.deb")
  [ -n "$package_file" ] || die "cannot find '$package' in '$folder' after the download"
}

# A machine may have no lists (they are often removed to save space): then we fetch our own, which needs no root.
use_private_lists() {
  local state
  state=$(xdg_cache)/apt
  mkdir -p "$state/lists/partial" "$state/archives/partial"
  apt_options+=(-o "Dir::State::Lists=$state/lists" -o "Dir::Cache=$state" -o "Dir::Cache::archives=$state/archives")
  apt-get "${apt_options[@]}" update >"$apt_log" 2>&1 || { cat "$apt_log" >&2; return 1; }
}
apt_download() { (cd "$1" && apt-get "${apt_options[@]}" download "$2" >"$apt_log" 2>&1); }
apt_show() { apt-cache "${apt_options[@]}" show --no-all-versions "$1" 2>/dev/null; }
