#!/bin/bash
# The first process of a guest of another architecture, whose files are all in memory.
# What it has found is in the shared directory, as in guest_setup.sh.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8
mkdir -p /proc /sys /dev /tmp /run /root
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/shm
for path in /tmp /run /dev/shm; do mount -t tmpfs -o mode=1777 tmpfs "$path"; done
modprobe -a virtio_pci 9pnet_virtio 9p

shared=$(sed 's/.*xctl_shared=\([^ ]*\).*/\1/' /proc/cmdline)
mkdir -p "$shared"
mount -t 9p -o version=9p2000.L,trans=virtio,msize=524288 shared "$shared"

. /mounts
export PYTHONDONTWRITEBYTECODE=1 XCTL_IN_GUEST=1
echo running >"$shared/stage"
bash /command >"$shared/output.log" 2>&1 </dev/null
code=$?
sync
echo "$code" >"$shared/exit.part" && mv "$shared/exit.part" "$shared/exit"
echo o >/proc/sysrq-trigger
sleep 60
