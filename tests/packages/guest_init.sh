#!/bin/busybox sh
# The first process of a guest, from its initramfs: the root is a folder of the host, systemd's to start.
export PATH=/bin
for name in proc root; do busybox mkdir -p /$name; done
busybox mount -t proc proc /proc
for name in virtio_pci 9pnet_virtio 9p; do busybox modprobe $name; done
# mmap: the journal is one.
busybox mount -t 9p -o version=9p2000.L,trans=virtio,msize=524288,cache=mmap root /root
busybox umount /proc
exec busybox switch_root /root /lib/systemd/systemd
