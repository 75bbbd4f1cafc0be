# Docker: the one that runs, or Debian's, started here.

engine() {
  running && return
  if ! command -v dockerd >/dev/null; then
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || { say "no Docker runs here; start one, or run this as root on Debian"; exit 1; }
    say "installing Docker"
    debian docker.io containerd runc iptables
  fi
  for _ in $(seq 150); do # one that is stopping must be gone before the next one starts
    pgrep -x dockerd >/dev/null || break
    running && return
    sleep 0.2
  done
  say "starting dockerd"
  rm -f /var/run/docker.pid
  local runtime=()
  holds_sys_resource || runtime=(--add-runtime "nosysres=$here/runc-nosysres" --default-runtime nosysres)
  nohup setsid dockerd "${runtime[@]}" >"$cache/dockerd.log" 2>&1 </dev/null &
  for _ in $(seq 300); do running && return; sleep 0.2; done
  tail -5 "$cache/dockerd.log"
  say "dockerd did not start"
  exit 1
}

running() { docker info >/dev/null 2>&1; }

holds_sys_resource() { # bit 24 of the bounding set
  local bounding; bounding=$(sed -n 's/^CapBnd:\t//p' /proc/self/status)
  (((0x$bounding >> 24) & 1))
}

debian() { # debian PACKAGE...
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >"$cache/apt.log" 2>&1 || { tail -5 "$cache/apt.log"; exit 1; }
}
