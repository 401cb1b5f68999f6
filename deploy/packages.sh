# Installing Debian packages, for tests/run and deploy/demo. Sourced, not run.
#
#   need_packages NAME...   installs those that are missing; with nothing
#                           missing it calls no package manager at all.
#                           Fails if they cannot be installed, also under
#                           "set -euo pipefail"
#   fetch_programs FOLDER PACKAGE PROGRAM...
#                           copies programs out of a package that is not installed

# What it takes to compile everything, tests included.
# shellcheck disable=SC2034 # used by those who source this
BUILD_PACKAGES=(
  build-essential cmake ninja-build pkg-config git ca-certificates
  librdkafka-dev libcurl4-openssl-dev libjansson-dev libpq-dev libsodium-dev
  libmicrohttpd-dev libsmartcols-dev libsystemd-dev libcmocka-dev
)

as_root() {
  if [ "$(id -u)" -eq 0 ]; then
    "$@"
  elif command -v sudo >/dev/null 2>&1; then
    sudo -- "$@"
  else
    printf 'This needs root or sudo: %s\n' "$*" >&2
    return 1
  fi
}

# Prints the names that are not installed. Callers may run with errexit and pipefail, so that
# no status of a command that only asks may end it.
missing_packages() {
  local name installed
  for name in "$@"; do
    installed=$(dpkg-query -W -f='${db:Status-Status}\n' "$name" 2>/dev/null || true)
    case $installed in
      installed*) ;;
      *) printf '%s\n' "$name" ;;
    esac
  done
}

apt_get() {
  as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y \
    -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 "$@"
}

# Debian's postgresql package makes and starts a cluster when it is first
# installed. We only want its programs, so it is told not to, for this once.
install_without_cluster() {
  local folder=/etc/postgresql-common/createcluster.d status=0
  local note=$folder/no-cluster-for-klaviyo-worker.conf

  as_root mkdir -p "$folder"
  printf 'create_main_cluster = false\n' | as_root tee "$note" >/dev/null
  apt_get install --no-install-recommends "$@" || status=$?
  as_root rm -f "$note"
  return "$status"
}

update_and_install() {
  apt_get update && install_without_cluster "$@"
}

need_packages() {
  local missing names
  command -v dpkg-query >/dev/null 2>&1 || {
    printf 'Not a Debian system; these must be installed already: %s\n' "$*" >&2
    return 0
  }
  missing=$(missing_packages "$@") || return
  [ -n "$missing" ] || return 0

  mapfile -t names <<<"$missing"
  printf 'installing %d packages: %s\n' "${#names[@]}" "${names[*]}"
  if [ -n "${PACKAGES_LOG:-}" ]; then
    update_and_install "${names[@]}" >>"$PACKAGES_LOG" 2>&1
  else
    update_and_install "${names[@]}" >&2 # may be a socket, which cannot be opened by name
  fi
}

fetch_programs() {
  local folder=$1 package=$2 work status=0
  shift 2
  work=$(mktemp -d) && mkdir -p "$folder" || return
  (
    cd "$work" || exit
    apt-get -q download "$package" || { apt_get update && apt-get -q download "$package"; } || exit
    dpkg-deb --fsys-tarfile "$package"_*.deb | tar -x -C "$work" "${@/#/.}" || exit
    mv "${@/#/.}" "$folder/"
  ) || status=$?
  rm -rf "$work"
  return "$status"
}
