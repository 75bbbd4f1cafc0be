# kind's node image and Python's base image, made of Debian and the binaries of binaries.sh.

registry=registry.k8s.io
etcd_tag=3.6.8-0 coredns_tag=v1.14.2 pause_tag=3.10 # the names that kubeadm asks for

source_base() {
  debian_root python-root python3 python3-venv python3-pip
  ln -sf python3 "$cache/python-root/usr/bin/python"
  say "importing $base_image"
  imported python-root $base_image -c 'ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt PIP_BREAK_SYSTEM_PACKAGES=1'
}

source_node() {
  command -v jq >/dev/null && command -v gcc >/dev/null || debian jq gcc libc6-dev
  node_binaries
  node_root
  say "assembling $source_node_image"
  imported node-root kind-base:source -c 'ENV container=docker' -c 'ENTRYPOINT ["/usr/local/bin/entrypoint","/sbin/init"]'
  cluster_images
  docker rm -f kind-build >/dev/null 2>&1 || true
  docker run -d --name kind-build --privileged --entrypoint sleep kind-base:source infinity >/dev/null
  docker exec -d kind-build containerd
  for _ in $(seq 300); do docker exec kind-build ctr version >/dev/null 2>&1 && break; sleep 0.2; done
  local image
  for image in "${control_plane_images[@]}"; do
    docker save "$image" | docker exec -i kind-build ctr -n k8s.io images import --all-platforms --no-unpack --digests - >"$cache/import.log" 2>&1 ||
      fail "$image does not get into the node's image: $(tail -3 "$cache/import.log")"
  done
  docker exec kind-build sh -c 'pkill -x containerd; sleep 1; rm -rf /run/containerd'
  docker commit --change 'ENTRYPOINT ["/usr/local/bin/entrypoint","/sbin/init"]' kind-build "$source_node_image" >/dev/null
  docker rm -f kind-build >/dev/null
  docker image rm -f "${control_plane_images[@]}" kind-base:source >/dev/null 2>&1 || true
}

imported() { # imported ROOT IMAGE OPTION...: named only when all of it has arrived
  local identity
  identity=$(tar -C "$cache/$1" -c . | docker import "${@:3}" -) || fail "docker import of $1 broke off"
  docker tag "$identity" "$2"
}

cluster_images() { # what kubeadm starts, under the names that it asks for; sets control_plane_images
  local name work; work=$(mktemp -d)
  control_plane_images=()
  for name in kube-apiserver kube-controller-manager kube-scheduler; do binary_image "$name:$version" "$kube_bin/$name"; done
  binary_image "etcd:$etcd_tag" "$kube_bin/etcd"
  binary_image "coredns/coredns:$coredns_tag" "$bin/coredns"
  cat >"$work/pause.c" <<'C'
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>
static void stop(int s) { (void)s; _exit(0); }
static void reap(int s) { (void)s; while (waitpid(-1, 0, WNOHANG) > 0); }
int main(void) { signal(SIGINT, stop); signal(SIGTERM, stop); signal(SIGCHLD, reap); for (;;) pause(); }
C
  gcc -Os -static -o "$work/pause" "$work/pause.c"
  binary_image "pause:$pause_tag" "$work/pause"
  cp "$kube_bin/kube-proxy" "$work/"
  printf 'FROM kind-base:source\nCOPY kube-proxy /usr/local/bin/\nENTRYPOINT ["kube-proxy"]\n' >"$work/Dockerfile"
  image_from "$registry/kube-proxy:$version" "$work"
  control_plane_images+=("$registry/kube-proxy:$version")
  rm -rf "$work"
}

image_from() { # image_from IMAGE FOLDER
  docker build -q -t "$1" "$2" >"$cache/docker-build.log" 2>&1 || { tail -5 "$cache/docker-build.log"; exit 1; }
}

binary_image() { # binary_image NAME BINARY
  local work; work=$(mktemp -d)
  install -m755 "$2" "$work/$(basename "$2")"
  printf 'FROM scratch\nCOPY * /usr/local/bin/\nENV PATH=/usr/local/bin\nENTRYPOINT ["%s"]\n' "$(basename "$2")" >"$work/Dockerfile"
  image_from "$registry/$1" "$work"
  control_plane_images+=("$registry/$1")
  rm -rf "$work"
}

node_root() { # kind's own files on Debian, with the binaries of a node
  debian_root node-root systemd conntrack iptables nftables iproute2 ethtool util-linux mount kmod libseccomp2 pigz e2fsprogs bash curl jq procps socat runc
  local root=$cache/node-root files units name
  files=$(module_folder kind sigs.k8s.io/kind)/images/base/files
  cp -r --no-preserve=mode "$files/." "$root/"
  chmod 755 "$root"/usr/local/bin/* "$root/kind" "$root/kind/bin" "$root"/kind/bin/*
  units=$root/lib/systemd/system
  rm -f "$units"/multi-user.target.wants/* "$root"/etc/systemd/system/*.wants/* "$units"/local-fs.target.wants/* \
    "$units"/sockets.target.wants/*udev* "$units"/sockets.target.wants/*initctl* "$units"/basic.target.wants/* \
    "$units"/sysinit.target.wants/systemd-tmpfiles-setup.service
  grep -q ReadKMsg "$root/etc/systemd/journald.conf" || echo ReadKMsg=no >>"$root/etc/systemd/journald.conf"
  sed -i 's/restrict_oom_score_adj = false/restrict_oom_score_adj = true/' "$root/etc/containerd/config.toml"
  ln -sf /usr/lib/systemd/systemd "$root/sbin/init"
  mkdir -p "$root/opt/cni/bin" "$root/etc/cni/net.d" "$root/etc/kubernetes/manifests"
  for name in containerd ctr containerd-shim-runc-v2; do install -m755 "$bin/$name" "$root/usr/local/bin/"; done
  for name in bridge ptp loopback host-local portmap; do install -m755 "$bin/$name" "$root/opt/cni/bin/"; done
  for name in kubelet kubeadm kubectl; do install -m755 "$kube_bin/$name" "$root/usr/bin/"; done
  install -m644 "$here/bridge.conflist" "$root/etc/cni/net.d/10-bridge.conflist"
  printf %s "$version" >"$root/kind/version"
  chroot "$root" systemctl enable -q kubelet.service containerd.service undo-mount-hacks.service
  chroot "$root" systemctl mask -q systemd-binfmt.service
  # What containerd starts containers with: kind's hook, and no rlimits, which need CAP_SYS_RESOURCE.
  chroot "$root" sh -c 'ctr oci spec 2>/dev/null' |
    jq '.hooks.createContainer += [{"path": "/kind/bin/mount-product-files.sh"}] | del(.process.rlimits)' >"$cache/cri-base.json"
  install -m644 "$cache/cri-base.json" "$root/etc/containerd/cri-base.json"
}

debian_root() { # debian_root FOLDER PACKAGE...: Debian with this host's authorities, so that pip works in `docker build`
  local into=$cache/$1; shift
  [ -e "$into/.done" ] && return
  command -v debootstrap >/dev/null || debian debootstrap
  say "debootstrap $into"
  again bootstrapped "$into" >"$cache/debootstrap.log" 2>&1 || { tail -5 "$cache/debootstrap.log"; exit 1; }
  cp /etc/resolv.conf "$into/etc/resolv.conf"
  again furnished "$into" "$@" >"$cache/root.log" 2>&1 || { tail -5 "$cache/root.log"; exit 1; }
  cp /etc/ssl/certs/ca-certificates.crt "$into/etc/ssl/certs/ca-certificates.crt"
  touch "$into/.done"
}

bootstrapped() { # bootstrapped FOLDER; from the beginning, since debootstrap does not go on in a half-filled folder
  umount "$1/proc" "$1/sys" 2>/dev/null # one that was killed leaves them mounted
  rm -rf "$1"
  debootstrap --variant=minbase --include=ca-certificates bookworm "$1"
}

furnished() { # furnished FOLDER PACKAGE...
  chroot "$1" sh -c "apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends ${*:2}"
}
