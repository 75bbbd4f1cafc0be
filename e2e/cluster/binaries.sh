# Programs from their Go modules. The folder of a module pins its version and its sums.

gomod() { [ "$1" = kubernetes ] || [ "$1" = etcd ] && echo "$repository/dev/vmcp_dev/gomod/$1" || echo "$here/gomod/$1"; }

build() { # build MODULE TARGET PACKAGE [LDFLAGS] [TAGS]
  [ -x "$2" ] && return
  local name; name=$(basename "$2")
  say "building $name"
  local work; work=$(mktemp -d)
  cp "$(gomod "$1")"/go.{mod,sum} "$work"
  again compile "$work" "$2.partial" "$3" "${4:-}" "${5:-}" >"$cache/$name.log" 2>&1 || { tail -5 "$cache/$name.log"; exit 1; }
  mv "$2.partial" "$2"
  rm -rf "$work"
}

compile() { # compile FOLDER TARGET PACKAGE LDFLAGS TAGS
  (cd "$1" && CGO_ENABLED=0 GOWORK=off GOFLAGS=-mod=mod timeout 1800 go build -trimpath -tags "$5" -ldflags "-s -w $4" -o "$2" "$3")
}

module_folder() { # module_folder MODULE PATH: where its source is
  local work; work=$(mktemp -d)
  cp "$(gomod "$1")"/go.{mod,sum} "$work"
  again fetch "$work" "$2" || exit 1
  rm -rf "$work"
}

fetch() { # fetch FOLDER PATH
  (cd "$1" && export GOWORK=off GOFLAGS=-mod=mod && timeout 900 go mod download "$2" && go list -m -f '{{.Dir}}' "$2")
}

kubernetes_binary() { # kubernetes_binary NAME...
  local stamp=k8s.io/component-base/version numbers name
  IFS=. read -ra numbers <<<"${version#v}"
  for name in "$@"; do
    build kubernetes "$kube_bin/$name" "k8s.io/kubernetes/cmd/$name" "-X $stamp.gitVersion=$version -X $stamp.gitMajor=${numbers[0]} \
      -X $stamp.gitMinor=${numbers[1]} -X $stamp.gitTreeState=clean -X $stamp.buildDate=2026-01-01T00:00:00Z"
  done
}

front_binaries() { # what a person at the cluster needs
  build kind "$bin/kind" sigs.k8s.io/kind
  kubernetes_binary kubectl
}

node_binaries() {
  local name
  kubernetes_binary kube-apiserver kube-controller-manager kube-scheduler kubelet kubeadm kube-proxy
  build etcd "$kube_bin/etcd" go.etcd.io/etcd/server/v3
  build coredns "$bin/coredns" github.com/coredns/coredns
  for name in containerd ctr containerd-shim-runc-v2; do
    build containerd "$bin/$name" "github.com/containerd/containerd/v2/cmd/$name" "" "no_aufs no_zfs no_btrfs no_devmapper"
  done
  for name in main/bridge main/ptp main/loopback ipam/host-local meta/portmap; do
    build cni "$bin/${name#*/}" "github.com/containernetworking/plugins/plugins/$name"
  done
}
