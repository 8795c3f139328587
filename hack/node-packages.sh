#!/usr/bin/env bash
# Installs what a real Node needs of the distribution, if something is missing and this is Debian, as root.
set -euo pipefail

packages=(containerd runc containernetworking-plugins iptables nftables conntrack)
complete() { command -v containerd runc iptables nft conntrack >/dev/null && [[ -x /usr/lib/cni/ptp ]]; }

if complete || [[ $EUID != 0 ]] || ! command -v apt-get >/dev/null; then
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
DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${packages[@]}"
