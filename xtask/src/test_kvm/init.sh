#!/bin/busybox sh
# The first process of the emulated arm64 host: runs /run.sh and tells how it ended.
# SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/bin/busybox mount -t proc proc /proc
/bin/busybox --install -s /bin
export PATH=/bin HOME=/root
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/shm /root
mount -t tmpfs tmp /tmp
mount -t tmpfs shm /dev/shm
mount -t securityfs security /sys/kernel/security
ln -s /proc/self/fd /dev/fd
hostname arm64-host
# For one guest of 256 MiB with --memory-backend hugetlb.
echo 128 > /proc/sys/vm/nr_hugepages
cd /root

# Two virtio ports: a serial line costs an exit a character.
for port in /sys/class/virtio-ports/vport*; do
    case $(cat "$port/name") in
        output) output=/dev/${port##*/} ;;
        status) status=/dev/${port##*/} ;;
    esac
done

sh /run.sh </dev/null >"$output" 2>&1
echo $? >"$status"
poweroff -f
