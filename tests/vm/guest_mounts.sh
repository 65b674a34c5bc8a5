# What the first process of every guest sets up, whatever its files come from.
ulimit -l unlimited # before 5.11 BPF maps are charged to RLIMIT_MEMLOCK
ulimit -n 65536
ulimit -c 0

is_mounted() { grep -q " $1 " /proc/mounts; }
is_mounted /sys/fs/bpf || mount -t bpf bpf /sys/fs/bpf
is_mounted /sys/kernel/debug || mount -t debugfs debugfs /sys/kernel/debug
is_mounted /sys/kernel/tracing || mount -t tracefs tracefs /sys/kernel/tracing
is_mounted /sys/fs/cgroup || mount -t cgroup2 cgroup2 /sys/fs/cgroup
ip link set lo up
sysctl -q net.core.bpf_jit_enable=1
sysctl -q kernel.kptr_restrict=0 # kallsyms with addresses, as root sees them on most hosts
