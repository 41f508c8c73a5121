#!/bin/bash
# PID 1 of a machine of the lab, inside namespaces of its own: lays the machine's own disk over the image, and runs sshd.
#   machine.sh FOLDER IMAGE        FOLDER holds `name`, `authorized_keys`, `profile.sh`; all else is made here
set -euo pipefail
home=$1 image=$2 root=$1/root
mkdir -p "$home/upper" "$home/work" "$root"
mount -t overlay overlay -o lowerdir="$image/disk":/,upperdir="$home/upper",workdir="$home/work" "$root"
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t tmpfs tmpfs "$root/dev"
for device in null zero full random urandom tty; do touch "$root/dev/$device"; mount --bind "/dev/$device" "$root/dev/$device"; done
ln -s /proc/self/fd "$root/dev/fd"; ln -s /proc/self/fd/0 "$root/dev/stdin"
ln -s /proc/self/fd/1 "$root/dev/stdout"; ln -s /proc/self/fd/2 "$root/dev/stderr"
mkdir -p "$root/dev/shm" "$root/dev/pts"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"; ln -s pts/ptmx "$root/dev/ptmx"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mount -t tmpfs tmpfs "$root/run"; mkdir -p "$root/run/sshd"
mkdir -p "$root/shared"; mount --bind "$image/../shared" "$root/shared"   # a disk that all machines reach
while read -r hidden; do mount --bind "$image/empty" "$root$hidden"; done < "$image/hidden"

name=$(cat "$home/name")
hostname "$name"
printf '127.0.0.1 localhost %s\n' "$name" > "$root/etc/hosts"
cp "$home/profile.sh" "$root/etc/profile.d/lab.sh"
mkdir -p "$root/home/ubuntu/.ssh"
cp "$home/authorized_keys" "$root/home/ubuntu/.ssh/authorized_keys"
chroot "$root" chown -R ubuntu: /home/ubuntu/.ssh
chmod 700 "$root/home/ubuntu/.ssh"
# As PID 1 it takes in what others leave behind.
exec chroot "$root" /bin/bash -c '/usr/sbin/sshd -D -e & while :; do wait -n || sleep 0.2; done'
