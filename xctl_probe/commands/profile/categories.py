"""What each system call is for: its category, and what its first argument and its result are."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from xctl_probe.ebpf.profile import CallFlag, Descriptor


class Category(StrEnum):
    """Category of a system call."""

    FILE = "file"
    MEMORY = "memory"
    PROCESS = "process"
    NETWORK = "network"
    TIME = "time"
    IPC = "ipc"
    SECURITY = "security"
    SIGNAL = "signal"
    SYSTEM = "system"
    OTHER = "other"


# The manual pages of section 2; a call that is in none of them is `other`.
_NAMES = {
    Category.FILE: """
        access cachestat chdir chmod chown chroot close close_range copy_file_range creat dup dup2
        dup3 faccessat faccessat2 fadvise64 fallocate fanotify_init fanotify_mark fchdir fchmod
        fchmodat fchmodat2 fchown fchownat fcntl fdatasync fgetxattr file_getattr file_setattr
        flistxattr flock fremovexattr fsetxattr fstat fstatfs fsync ftruncate futimesat getcwd
        getdents getdents64 getxattr getxattrat inotify_add_watch inotify_init inotify_init1
        inotify_rm_watch io_cancel io_destroy io_getevents io_pgetevents io_setup io_submit
        io_uring_enter io_uring_register io_uring_setup ioctl lchown lgetxattr link linkat listxattr
        listxattrat llistxattr lremovexattr lseek lsetxattr lstat mkdir mkdirat mknod mknodat
        name_to_handle_at newfstatat open open_by_handle_at openat openat2 pread64 preadv preadv2
        pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv removexattr removexattrat
        rename renameat renameat2 rmdir sendfile setxattr setxattrat splice stat statfs statx
        symlink symlinkat sync sync_file_range syncfs tee truncate umask unlink unlinkat ustat utime
        utimensat utimes vmsplice write writev
    """,
    Category.MEMORY: """
        brk get_mempolicy madvise map_shadow_stack mbind membarrier migrate_pages mincore mlock
        mlock2 mlockall mmap move_pages mprotect mremap mseal msync munlock munlockall munmap
        pkey_alloc pkey_free pkey_mprotect process_madvise process_mrelease remap_file_pages
        set_mempolicy set_mempolicy_home_node userfaultfd
    """,
    Category.PROCESS: """
        arch_prctl clone clone3 execve execveat exit exit_group fork get_robust_list
        get_thread_area getcpu getpgid getpgrp getpid getppid getpriority getrlimit getrusage getsid
        gettid ioprio_get ioprio_set kcmp modify_ldt pidfd_getfd pidfd_open prctl prlimit64
        process_vm_readv process_vm_writev ptrace rseq rseq_slice_yield sched_get_priority_max
        sched_get_priority_min sched_getaffinity sched_getattr sched_getparam sched_getscheduler
        sched_rr_get_interval sched_setaffinity sched_setattr sched_setparam sched_setscheduler
        sched_yield set_robust_list set_thread_area set_tid_address setns setpgid setpriority
        setrlimit setsid unshare vfork wait4 waitid
    """,
    Category.NETWORK: """
        accept accept4 bind connect epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait
        epoll_pwait2 epoll_wait epoll_wait_old getpeername getsockname getsockopt listen poll ppoll
        pselect6 recvfrom recvmmsg recvmsg select sendmmsg sendmsg sendto setsockopt shutdown socket
        socketpair
    """,
    Category.TIME: """
        adjtimex alarm clock_adjtime clock_getres clock_gettime clock_nanosleep clock_settime
        getitimer gettimeofday nanosleep setitimer settimeofday time timer_create timer_delete
        timer_getoverrun timer_gettime timer_settime timerfd_create timerfd_gettime timerfd_settime
        times
    """,
    Category.IPC: """
        eventfd eventfd2 futex futex_requeue futex_wait futex_waitv futex_wake memfd_create
        mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedsend mq_unlink msgctl msgget msgrcv
        msgsnd pipe pipe2 semctl semget semop semtimedop shmat shmctl shmdt shmget
    """,
    Category.SECURITY: """
        add_key capget capset getegid geteuid getgid getgroups getrandom getresgid getresuid getuid
        keyctl landlock_add_rule landlock_create_ruleset landlock_restrict_self lsm_get_self_attr
        lsm_list_modules lsm_set_self_attr memfd_secret request_key seccomp setfsgid setfsuid setgid
        setgroups setregid setresgid setresuid setreuid setuid
    """,
    Category.SIGNAL: """
        kill pause pidfd_send_signal restart_syscall rt_sigaction rt_sigpending rt_sigprocmask
        rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_tgsigqueueinfo sigaltstack
        signalfd signalfd4 tgkill tkill
    """,
    Category.SYSTEM: """
        acct bpf delete_module finit_module fsconfig fsmount fsopen fspick init_module ioperm iopl
        kexec_file_load kexec_load listmount listns mount mount_setattr move_mount open_tree
        open_tree_attr perf_event_open personality pivot_root quotactl quotactl_fd reboot
        setdomainname sethostname statmount swapoff swapon sysfs sysinfo syslog umount2 uname
        vhangup
    """,
}
CATEGORIES = {name: category for category, names in _NAMES.items() for name in names.split()}

# Calls whose latencies are shown, each with its variants.
SHOWN = {
    "read": ("read", "readv"),
    "write": ("write", "writev"),
    "sendto": ("sendto",),
    "recvfrom": ("recvfrom",),
    "sendmsg": ("sendmsg", "sendmmsg"),
    "recvmsg": ("recvmsg", "recvmmsg"),
    "connect": ("connect",),
    "accept": ("accept", "accept4"),
    "close": ("close",),
    "poll": ("poll", "ppoll", "select", "pselect6"),
    "epoll_wait": ("epoll_wait", "epoll_pwait", "epoll_pwait2"),
}

# Their first argument is a descriptor, which decides what they are for.
_RECEIVES = ("read", "readv", "pread64", "preadv", "preadv2", "recvfrom", "recvmsg", "splice")
_SENDS = ("write", "writev", "pwrite64", "pwritev", "pwritev2", "sendto", "sendmsg", "sendfile")
# They return how many messages: the lengths are in the memory of the process.
_RETURN_MESSAGES = ("recvmmsg", "sendmmsg")
_BY_DESCRIPTOR = (
    *_RECEIVES, *_SENDS, *_RETURN_MESSAGES, "tee", "close", "connect", "accept",
    "accept4", "bind", "listen", "shutdown", "getsockopt", "setsockopt", "getsockname",
    "getpeername", "ioctl", "fcntl", "fstat",
)  # fmt: skip
_LEAVES = ("exit", "exit_group")


def receives(name: str) -> bool:
    """True for a call that returns how many bytes it read."""
    return name in _RECEIVES


def sends(name: str) -> bool:
    """True for a call that returns how many bytes it wrote."""
    return name in _SENDS


def has_bytes(name: str) -> bool:
    """False for a call that moves bytes and does not return how many."""
    return name not in _RETURN_MESSAGES


def sends_uncounted(name: str, kind: Descriptor) -> bool:
    """True for a call that sends, or may: where a splice from a pipe goes to is not read."""
    return (
        name == "sendmmsg"
        if kind is Descriptor.INTERNET
        else (name == "splice" and kind is Descriptor.LOCAL)
    )


def receives_uncounted(name: str, kind: Descriptor) -> bool:
    """True for a call that receives so many messages."""
    return name == "recvmmsg" and kind is Descriptor.INTERNET


def category_of(name: str, kind: Descriptor) -> Category:
    """Return the category of a call on such a descriptor."""
    if kind is Descriptor.INTERNET:
        return Category.NETWORK
    if kind is Descriptor.LOCAL:
        return Category.IPC
    return CATEGORIES.get(name, Category.OTHER)


def has_descriptor(name: str) -> bool:
    """True where the first argument is a descriptor that decides the category."""
    return name in _BY_DESCRIPTOR


def flags(names: Mapping[int, str]) -> dict[int, CallFlag]:
    """Return what the kernel programs have to know of each call, by number."""
    found = {}
    for number, name in names.items():
        flag = CallFlag(0)
        if has_descriptor(name):
            flag |= CallFlag.HAS_FD
        if receives(name) or sends(name):
            flag |= CallFlag.RETURNS_BYTES
        if name in _LEAVES:
            flag |= CallFlag.LEAVES
        if flag:
            found[number] = flag
    return found
