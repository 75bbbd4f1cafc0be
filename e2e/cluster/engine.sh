# Docker: the one that runs, or Debian's, started here.

engine() {
  running && return
  if ! command -v dockerd >/dev/null; then
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || fail "no Docker runs here; start one, or run this as root on Debian"
    say "installing Docker"
    debian docker.io containerd runc iptables
  fi
  for _ in $(seq 90); do # one that is starting may need its time, one that is stopping must be gone
    pgrep -x dockerd >/dev/null || break
    running && return
    sleep 1
  done
  ! pgrep -x dockerd >/dev/null || fail "a dockerd runs here and does not answer"
  say "starting dockerd"
  rm -f /var/run/docker.pid
  local runtime=()
  holds_sys_resource || runtime=(--add-runtime "nosysres=$cache/runc-nosysres" --default-runtime nosysres)
  nohup setsid dockerd "${runtime[@]}" >"$cache/dockerd.log" 2>&1 </dev/null 9>&- &
  local daemon=$!
  for _ in $(seq 120); do
    running && return
    kill -0 $daemon 2>/dev/null || break
    sleep 1
  done
  tail -5 "$cache/dockerd.log"
  fail "dockerd did not start"
}

running() { timeout 20 docker info >/dev/null 2>&1; }

holds_sys_resource() { # bit 24 of the bounding set
  local bounding; bounding=$(sed -n 's/^CapBnd:\t//p' /proc/self/status)
  (((0x$bounding >> 24) & 1))
}

debian() { # debian PACKAGE...
  again installed "$@" >"$cache/apt.log" 2>&1 || { tail -5 "$cache/apt.log"; exit 1; }
}

installed() { # installed PACKAGE...; another apt may be at work on a machine that is new
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -y -qq --no-install-recommends "$@"
}
