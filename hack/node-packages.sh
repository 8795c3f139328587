#!/usr/bin/env bash
# Installs what a real Node needs of the distribution, if something is missing and this is Debian, as root. It never replaces what is
# there, such as Docker's containerd.
set -euo pipefail

missing=()
needs() { # FILE-OR-PROGRAM PACKAGE
  [[ -x $1 ]] || command -v "$1" >/dev/null || missing+=("$2")
}
needs containerd containerd
needs runc runc
needs /usr/lib/cni/ptp containernetworking-plugins
needs iptables iptables
needs nft nftables
needs conntrack conntrack

if ((${#missing[@]} == 0)) || [[ $EUID != 0 ]] || ! command -v apt-get >/dev/null; then
  exit 0
fi
# A daemon that a package starts would be nobody's: a Node runs its own.
policy=/usr/sbin/policy-rc.d
if [[ ! -e $policy ]]; then
  trap 'rm -f $policy' EXIT
  printf '#!/bin/sh\nexit 101\n' >$policy
  chmod +x $policy
fi
apt-get update -q
DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends --no-remove "${missing[@]}"
