#!/bin/bash
# Prepares the disk image that every machine of the lab starts from: this machine's own disk, and on top of it a user `ubuntu`,
# an sshd, and the user's virtual environment with what cluster/node/requirements.txt asks for already in it.
#   image.sh FOLDER VENV PROJECT
set -euo pipefail
image=$1 venv=$2 project=$3
root=$image/root
mkdir -p "$image"
mount -t tmpfs -o mode=755 tmpfs "$image"   # overlayfs refuses two lower layers of which one lies in the other
mkdir "$image/disk" "$image/work" "$image/empty" "$root"
mount -t overlay overlay -o lowerdir=/,upperdir="$image/disk",workdir="$image/work" "$root"
trap 'umount "$root"' EXIT

in_image() { chroot "$root" "$@"; }
in_image id ubuntu > /dev/null 2>&1 || in_image useradd -m -s /bin/bash -p '*' ubuntu  # without -p, sshd takes the account for locked
ssh-keygen -A -f "$root" > /dev/null
mkdir -p "$root/run/sshd"
cat > "$root/etc/ssh/sshd_config" <<'END'
PasswordAuthentication no
PermitRootLogin no
PidFile none
UsePAM no
UseDNS no
MaxStartups 50
StrictModes no
HostKey /etc/ssh/ssh_host_ed25519_key
END
# The interpreter may live below a home folder that only its owner may enter.
for path in "$venv" "$(readlink -f "$venv/bin/python")"; do
  while [ "$path" != / ]; do path=$(dirname "$path"); chmod o+x "$root$path"; done
done

# An environment like one made by `python3 -m venv ~/env` and pip: same interpreter, same packages, nothing of them copied.
env=$root/home/ubuntu/env
mkdir -p "$env"
cp -r --no-dereference "$venv/bin" "$venv/pyvenv.cfg" "$env/"
ln -sfn "$venv/lib" "$env/lib"
grep -lIZ -d skip "^#!$venv/bin/python" "$env"/bin/* | xargs -0 sed -i "1s|^#!.*|#!/home/ubuntu/env/bin/python|"
printf '[global]\nno-index = true\ndisable-pip-version-check = true\n' > "$root/etc/pip.conf"
in_image chown -R ubuntu: /home/ubuntu
# What the machines run must be what `ray up` brought them, never the project as it lies here.
echo "$project" > "$image/hidden"
