# What a program loads and whose it is, for deploy/rootfs and deploy/sbom. Sourced, not run.

# libraries_of PROGRAM: the libraries and the loader, as the loader itself finds them.
libraries_of() {
  ldd "$1" | sed -nE 's/^.*=> (\/[^ ]+) .*$/\1/p; s/^\t(\/[^ ]+) .*$/\1/p' | sort -u
}

# package_of FILE: its Debian package. A package may own it under its old name in /lib, or what it
# is a link to.
package_of() {
  { dpkg-query -S "$1" "${1#/usr}" "$(readlink -f "$1")" 2>/dev/null || true; } |
    sed -n '/^diversion by /!{s/:.*$//p;q}'
}

# packages_of FILE…: each once, without those that no package owns.
packages_of() {
  local file
  for file in "$@"; do package_of "$file"; done | sed '/^$/d' | sort -u
}
