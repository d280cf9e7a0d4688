#!/usr/bin/env bash
# Boots the systemd of this machine in namespaces of its own, over this machine's files: what it writes is nobody else's, and gone with it.
#
#     unshare --mount boot.sh FOLDER        FOLDER/files are laid over /; FOLDER/pid is the new systemd's process
#
# Ends when that process has ended. Units that would touch the kernel's own settings, which have no namespace, are masked.
set -euo pipefail

if [ "${2:-}" != inside ]; then
    mkdir "$1/top" "$1/root" "$1/cgroup"
    mount --make-rprivate /
    # A group of its own, so that nothing of systemd's tree is left in this machine's.
    mount -t cgroup2 cgroup2 "$1/cgroup"
    group=$1/cgroup/test-$$
    mkdir "$group"
    (
        echo 0 >"$group/cgroup.procs"
        # Whoever is killed here, the others go with it.
        exec setpriv --pdeathsig KILL unshare --mount --pid --cgroup --ipc --uts --fork --kill-child "$0" "$1" inside
    ) &
    launcher=$!
    init=''
    until [ -n "$init" ]; do
        kill -0 "$launcher" 2>/dev/null || exit 1
        read -r init <"/proc/$launcher/task/$launcher/children" || sleep 0.02
    done 2>/dev/null
    printf '%s' "${init% }" >"$1/pid.new"
    mv "$1/pid.new" "$1/pid"
    wait "$launcher" || true
    # Those of the namespace are gone, but the kernel may still be letting go of them.
    for _ in {1..100}; do
        find "$group" -depth -type d -exec rmdir {} + 2>/dev/null && break
        sleep 0.05
    done
    exit
fi

cd "$1"
mount -t tmpfs tmpfs top
mkdir -p top/work top/upper/etc/systemd/system
cp -a files/. top/upper
for unit in systemd-sysctl.service systemd-modules-load.service systemd-binfmt.service systemd-udevd.service systemd-udev-trigger.service \
    systemd-udevd-kernel.socket systemd-udevd-control.socket systemd-random-seed.service systemd-update-utmp.service systemd-remount-fs.service \
    systemd-journald-audit.socket proc-sys-fs-binfmt_misc.automount dev-hugepages.mount dev-mqueue.mount sys-kernel-debug.mount \
    sys-kernel-tracing.mount sys-kernel-config.mount sys-fs-fuse-connections.mount kmod-static-nodes.service systemd-tmpfiles-setup-dev.service; do
    ln -s /dev/null "top/upper/etc/systemd/system/$unit"
done
# None of this machine's services, and no file system of its fstab.
printf '[Unit]\nRequires=sysinit.target\nAfter=sysinit.target\nAllowIsolate=yes\n' >top/upper/etc/systemd/system/test.target
: >top/upper/etc/fstab

mount -t overlay overlay -o "lowerdir=/,upperdir=$1/top/upper,workdir=$1/top/work" root
cd root
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro sysfs sys
mount -t tmpfs tmpfs sys/fs/cgroup
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs tmpfs dev
for device in null zero full random urandom tty; do
    : >"dev/$device"
    mount --bind "/dev/$device" "dev/$device"
done
mkdir dev/shm dev/pts
mount -t tmpfs tmpfs dev/shm
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
mount -t tmpfs tmpfs run
mount -t tmpfs tmpfs tmp
mkdir -p old
pivot_root . old
umount -l /old
exec env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --system --unit=test.target --log-target=null --show-status=0
