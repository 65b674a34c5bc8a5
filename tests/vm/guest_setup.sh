#!/bin/bash
# Runs as root inside the guest: guest_setup.sh SHARED_DIRECTORY COMMAND...
# Completes what virtme-init leaves out, runs the command, and leaves its exit code in
# SHARED/exit.  The console is not trusted with results: it drops lines under load.
set -u

# A directory that the host lacks, as containers lack /lib/modules: the host's files are read-only
# here, so its parent gets a layer that can be written to.
provide() {
    parent=$(readlink -f "$(dirname "$1")")
    layer=$(mktemp -d /run/layer.XXXXXX)
    mkdir "$layer/upper" "$layer/work"
    mount -t overlay -o "lowerdir=$parent,upperdir=$layer/upper,workdir=$layer/work" overlay "$parent"
    mkdir "$1"
}

# A function, so that bash has read all of it: it reads a script as it goes, and the file may
# be edited on the host meanwhile.
main() {
    shared=$1
    shift

    . "${0%/*}/guest_mounts.sh"

    # Headers unpacked for this kernel, where bcc looks for them.  The guest's /usr is a copy that
    # is thrown away and /lib/modules a tmpfs, so nothing of this reaches the host.
    if [ -d "${KERNEL_HEADERS:-}" ]; then
        release=$(uname -r)
        modules=$(readlink -f "/lib/modules/$release")
        ln -sf "$KERNEL_HEADERS"/usr/src/linux-headers-* /usr/src/
        ln -sf "$KERNEL_HEADERS"/usr/lib/linux-kbuild-* /usr/lib/
        rm "/lib/modules/$release"
        mkdir "/lib/modules/$release"
        ln -s "$modules"/* "/lib/modules/$release/"
        ln -s "/usr/src/linux-headers-$release" "/lib/modules/$release/build"
        ln -s "$(echo /usr/src/linux-headers-*-common)" "/lib/modules/$release/source"
    fi

    # The host's files come through 9p uncached, and starting a Python reads many: the same
    # files through a cache make it start in half the time.  boot.py sees that nobody changes
    # what is read meanwhile.
    root=/run/cached
    tag=$(grep " $root " /proc/mounts | cut -d ' ' -f 1)
    umount "$root"
    mount -t 9p -o ro,version=9p2000.L,trans=virtio,msize=524288,cache=loose "$tag" "$root"
    for path in /proc /sys /dev /run /tmp /lib/modules /usr/src "$shared"; do
        [ -e "$path" ] || continue
        [ -e "$root$path" ] || provide "$root$path"
        mount --rbind "$path" "$root$path"
    done

    export PYTHONDONTWRITEBYTECODE=1 XCTL_IN_GUEST=1
    echo running >"$shared/stage"
    chroot "$root" "$@" >"$shared/output.log" 2>&1 </dev/null
    code=$?
    sync
    echo "$code" >"$shared/exit.part" && mv "$shared/exit.part" "$shared/exit"
    exit "$code"
}

main "$@"
