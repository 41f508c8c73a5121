#!/bin/sh
# Installs what the lab's machines are made with, where it is missing (Debian, Ubuntu). Needs root.
set -eu
PATH="$PATH:/usr/sbin:/sbin"
missing=""
for pair in sshd:openssh-server rsync:rsync ip:iproute2 nft:nftables curl:curl unshare:util-linux; do
  command -v "${pair%%:*}" > /dev/null || missing="$missing ${pair#*:}"
done
[ -z "$missing" ] && exit 0
command -v apt-get > /dev/null || { echo "tests/cloud/setup.sh: install these, then run again:$missing" >&2; exit 2; }
[ "$(id -u)" = 0 ] || { echo "tests/cloud/setup.sh: needs root to install:$missing" >&2; exit 2; }
apt-get update -qq
# shellcheck disable=SC2086  # a list of packages
DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends $missing
