# Shared by the scripts beside it; sourced, never run. Bash.

set -euo pipefail
KRAKEN_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# Everything comes from Debian 12. What each is for: docs/architecture.md, "Dependencies".
KRAKEN_PACKAGES=(
  clang-19 lld-19 llvm-19 libclang-rt-19-dev cmake ninja-build ccache pkg-config git python3 ca-certificates
  libboost1.81-dev librocksdb-dev libsnappy-dev libbz2-dev liblz4-dev libzstd-dev zlib1g-dev libdeflate-dev libssl-dev
  nlohmann-json3-dev libxxhash-dev libmurmurhash-dev protobuf-compiler libprotobuf-dev libyaml-cpp-dev
  libspdlog-dev libfmt-dev libcli11-dev prometheus-cpp-dev libcivetweb-dev libre2-dev libjemalloc-dev libgtest-dev libgmock-dev
  skopeo
)

say() { printf '%s\n' "$*" >&2; }
die() {
  say "error: $*"
  exit 1
}

# missing_packages NAME...: prints those that are not installed.
missing_packages() {
  local name
  for name in "$@"; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null || true)" = installed ] || printf '%s\n' "$name"
  done
}

# install_packages NAME...: installs what is missing; says what it would remove, and stops, rather than remove anything.
install_packages() {
  local missing as_root=()
  mapfile -t missing < <(missing_packages "$@")
  [ "${#missing[@]}" -eq 0 ] && return 0
  command -v apt-get >/dev/null || die "these Debian 12 packages are missing and there is no apt-get to install them: ${missing[*]}"
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || die "these packages are missing: ${missing[*]}; as root, run: apt-get install ${missing[*]}"
    as_root=(sudo)
  fi
  say "Installing from Debian: ${missing[*]}"
  "${as_root[@]}" apt-get update -qq >&2 || die "apt-get update failed; check /etc/apt/sources.list and the network"
  local removes
  removes=$("${as_root[@]}" apt-get install --no-install-recommends -s "${missing[@]}" 2>/dev/null | sed -n 's/^Remv \([^ ]*\).*/\1/p')
  if [ -n "$removes" ]; then
    die "installing ${missing[*]} would remove: $(echo $removes). Kraken needs Boost 1.81, which cannot stand beside 1.74's headers. If that is fine, run: apt-get install ${missing[*]}"
  fi
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2 ||
    die "apt-get install failed; its last lines above say why"
}

# build PRESET [TARGET...]: configures and builds into build/PRESET.
build() {
  local preset=$1
  shift
  local free_kb
  free_kb=$(df -Pk "$KRAKEN_ROOT" | awk 'NR==2 {print $4}')
  [ "$free_kb" -gt 3000000 ] || die "only $((free_kb / 1024)) MB are free under $KRAKEN_ROOT; a build needs 3 GB: free some and run this again"
  cd "$KRAKEN_ROOT"
  say "Building ($preset) into build/$preset ..."
  cmake --preset "$preset" >"build-$preset.log" 2>&1 || { cat "build-$preset.log" >&2; rm -f "build-$preset.log"; die "cmake --preset $preset failed"; }
  rm -f "build-$preset.log"
  cmake --build --preset "$preset" ${1:+--target "$@"} >&2 || die "the build failed; the first error above says where"
}
