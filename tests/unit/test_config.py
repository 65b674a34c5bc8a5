"""Whatever the user asks for is a valid setting, or one line that names the mistake."""

from __future__ import annotations

import math
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xctl_probe.aggregate import Filter
from xctl_probe.config import checks
from xctl_probe.config.choices import Backend, Format
from xctl_probe.config.file import read_file
from xctl_probe.config.options import FILE_KEYS, OPTIONS
from xctl_probe.config.settings import Settings
from xctl_probe.errors import UsageError

PID = os.getpid()


@pytest.fixture(autouse=True)
def interfaces(monkeypatch):
    """The host has two interfaces."""
    monkeypatch.setattr(checks, "_interface_names", lambda: ["eth0", "lo"])


def checked(**changes):
    return Settings.checked(changes)


def test_what_is_given_is_what_is_set():
    """Seconds and milliseconds become nanoseconds, lists become a filter."""
    found = checked(
        interval=0.25, duration=7, stall_ms=11, reply_ms=13, min_bw=2.5, pid=[PID, PID],
        interface=["eth0"], loopback=True, backend=Backend.SAMPLER, format=Format.TEXT,
        no_sock_diag=True, proc_budget=5,
    )  # fmt: skip
    assert found == Settings(
        interval_ns=250_000_000,
        duration_ns=7_000_000_000,
        stall_ns=11_000_000,
        reply_ns=13_000_000,
        wanted=Filter(2.5, frozenset({PID}), frozenset({"eth0"}), True),
        backend=Backend.SAMPLER,
        format=Format.TEXT,
        sock_diag=False,
        proc_share=0.05,
    )


def test_what_is_for_a_recording_need_not_exist_here():
    given = {"pid": [2**22 + 1], "interface": ["ib7"]}
    found = Settings.checked(given, of_this_host=False)
    assert found.wanted == Filter(pids=frozenset({2**22 + 1}), interfaces=frozenset({"ib7"}))
    with pytest.raises(UsageError, match="no such process"):
        found.check_host()


def test_without_values_the_defaults_of_the_table_hold():
    """None is the same as left out."""
    none = dict.fromkeys(option.parameter for option in OPTIONS)
    assert checked() == checked(**none)
    assert checked() == checked(**{o.parameter: o.default for o in OPTIONS if not o.many})
    assert checked().stall_ns == 100_000_000


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_the_default_of_an_option_is_a_value_of_it(option):
    """Of its type, and good."""
    assert option.default is None or type(option.default) is option.kind
    option.checked(() if option.many else option.default)


def test_each_name_variable_and_parameter_is_that_of_one_option():
    """None hides another."""
    for names in (
        [option.name for option in OPTIONS],
        [option.parameter for option in OPTIONS],
        [option.variable for option in OPTIONS if option.variable],
    ):
        assert len(names) == len({*names}) > 10


@pytest.mark.parametrize(
    ("metrics", "remedy"),
    [
        ("protocols", "stalls,errors,protocols"),
        ("protocols,packets", "stalls,errors,protocols,packets"),
        ("bandwidth,protocols", "bandwidth,stalls,errors,protocols"),
    ],
)
def test_protocols_without_what_they_add_to_are_a_mistake(metrics, remedy):
    """No record would have any."""
    with pytest.raises(UsageError, match=f"^--metrics {metrics}: .* give --metrics {remedy}$"):
        checked(metrics=metrics)
    assert checked(metrics=remedy).wanted.metrics == {*remedy.split(",")}


@pytest.mark.parametrize(
    "metrics", ["packets", "rdma", "process", "stalls,protocols", "errors,protocols"]
)
def test_metrics_that_give_records_alone_are_taken(metrics):
    assert checked(metrics=metrics).wanted.metrics == {*metrics.split(",")}


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("interval", 0.01),
        ("interval", 3_600),
        ("duration", 0.001),
        ("stall_ms", 1),
        ("min_bw", 0),
        ("min_bw", 1e9),
        ("proc_budget", 0.1),
        ("proc_budget", 100),
    ],
)
def test_the_bounds_themselves_are_allowed(option, value):
    """The least and the greatest of each."""
    assert isinstance(checked(**{option: value}), Settings)


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("interval", 0, "--interval 0: not a valid length"),
        ("interval", 0.009, "seconds from 0.01 to 3600"),
        ("interval", 3_600.1, "seconds from 0.01 to 3600"),
        ("interval", -1.0, "--interval -1.0"),
        ("interval", math.nan, "--interval nan"),
        ("interval", math.inf, "--interval inf"),
        ("duration", 0, "--duration 0: give seconds above 0"),
        ("duration", -7.0, "or leave it out"),
        ("duration", math.nan, "--duration nan"),
        ("duration", math.inf, "--duration inf"),
        ("stall_ms", 0, "--stall-ms 0: give milliseconds from 1 to 3600000"),
        ("stall_ms", -11, "--stall-ms -11"),
        ("stall_ms", 2**64, "--stall-ms 18446744073709551616: give milliseconds from 1"),
        ("reply_ms", 0, "--reply-ms 0: give milliseconds from 1 to 3600000"),
        ("min_bw", -0.1, "--min-bw -0.1: give Mbps from 0 up"),
        ("min_bw", math.nan, "--min-bw nan"),
        ("min_bw", math.inf, "--min-bw inf"),
        ("proc_budget", 0.09, "--proc-budget 0.09: give percent of a core from 0.1 to 100"),
        ("proc_budget", 100.1, "--proc-budget 100.1"),
        ("proc_budget", math.nan, "--proc-budget nan"),
        ("pid", [PID, 0], "--pid 0: no such process"),
        ("pid", [-1], "--pid -1: no such process"),
        ("pid", [2**22 + 1], "`ps -e` lists all"),
        ("interface", ["eth0", "eth7"], "--interface eth7: no such interface; known: eth0, lo"),
        ("interface", [""], "no such interface; known: eth0, lo"),
        (
            "ignore_reply_wait",
            ["10.0.0.7", "redis:6379"],
            "--ignore-reply-wait redis:6379: not the address of a peer",
        ),
        (
            "ignore_reply_wait",
            ["10.0.0.7:0"],
            "give one as 10.0.0.7, 10.0.0.7:6379 or [fd00::7]:6379",
        ),
    ],
)
def test_a_mistake_is_named_with_its_remedy(option, value, message):
    """The option as it is written, the value, and what to give instead; exit code 2."""
    with pytest.raises(UsageError) as caught:
        checked(**{option: value})
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("option", "value"), [("duration", 1e300), ("pid", 2**31), ("pid", 10**30)], ids=str
)
def test_an_absurd_number_is_a_mistake_like_any_other(option, value):
    """A duration of 10^300 s or a pid of 2^31 gets its line, too."""
    with pytest.raises(UsageError, match=f"--{option} "):
        checked(**{option: [value] if option == "pid" else value})


@given(
    interval=st.floats(),
    duration=st.none() | st.floats(),
    stall_ms=st.integers(),
    min_bw=st.floats(),
    pid=st.lists(st.integers() | st.just(PID), max_size=3),
    interface=st.lists(st.sampled_from(["eth0", "lo"]) | st.text(), max_size=3),
)
def test_any_values_are_settings_or_a_mistake(**values):
    """Settings that hold what they promise, or UsageError; nothing else."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checks, "_interface_names", lambda: ["eth0", "lo"])
        try:
            found = checked(**values)
        except UsageError:
            return
    assert 10_000_000 <= found.interval_ns <= 3_600_000_000_000
    assert found.duration_ns is None or found.duration_ns >= 0
    assert found.stall_ns >= 1_000_000
    assert 0 <= found.wanted.min_mbps < math.inf
    assert found.wanted.pids <= {*values["pid"]}
    assert found.wanted.interfaces <= {"eth0", "lo"}


# The file


@pytest.fixture
def file(tmp_path):
    """The settings that a file of this content has."""

    def read(content):
        path = tmp_path / "probe.toml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_file(path)

    return read


def test_a_file_has_the_long_options(file):
    """Each key with a value of its type; one process or interface need not be a list."""
    content = """
        interval = 0.5
        duration = 7
        stall-ms = 11
        min-bw = 2
        pid = 233
        interface = ["eth0", "lo"]
        loopback = true
        backend = "proc"
        format = "text"
        no-sock-diag = false
    """
    assert file(content) == {
        "interval": 0.5,
        "duration": 7,
        "stall-ms": 11,
        "min-bw": 2,
        "pid": [233],
        "interface": ["eth0", "lo"],
        "loopback": True,
        "backend": "sampler",
        "format": "text",
        "no-sock-diag": False,
    }


def test_an_empty_file_sets_nothing(file):
    """Comments neither."""
    assert file("") == {}
    assert file("# interval = 7\n") == {}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("interval = true", "interval: expected a number, got True"),
        ("interval = '1'", "expected a"),
        ("stall-ms = 1.5", "stall-ms: expected an integer, got 1.5"),
        ("pid = true", "expected a"),
        ("pid = [1, true]", "expected a"),
        ("pid = ['7']", "expected a"),
        ("pid = [[7]]", "expected a"),
        ("interface = [7]", "interface: expected a string or a list, got [7]"),
        ("patient = 6379", "expected a"),
        ("ignore-reply-wait = 6379", "expected a"),
        ("loopback = 1", "expected true or false"),
        ("format = ['text']", "expected a"),
        ("interval = 2026-11-21", "expected a"),
        ("interval.of = 7", "expected a"),
        ("[interval]", "expected a"),
        ("intervall = 7", "unknown key 'intervall'; did you mean 'interval'?"),
        ("stall_ms = 7", "did you mean 'stall-ms'?"),
        ("xyzzy = 7", "known keys: interval, duration, metrics"),
        ("interval = ", "not TOML"),
        ("interval = 1\ninterval = 2", "not TOML"),
        (b"interval = \xff", "not UTF-8 text at byte 11"),
        (b"\xff\xfei\0", "not UTF-8 text at byte 0"),
    ],
)
def test_a_mistake_in_the_file_is_named(file, content, message):
    """The file, the key and what is wrong, in one line."""
    with pytest.raises(UsageError) as caught:
        file(content)
    assert message in str(caught.value)
    assert "probe.toml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    """One that is not there, and a folder."""
    with pytest.raises(UsageError, match=r"--config .*gone\.toml: No such file or directory; give"):
        read_file(tmp_path / "gone.toml")
    with pytest.raises(UsageError, match="Is a directory"):
        read_file(tmp_path)


@pytest.mark.parametrize(
    "content", ["interval = " + "9" * 5_000, "interval = " + "[" * 5_000], ids=["digits", "nested"]
)
def test_a_file_made_to_hurt_is_a_mistake_like_any_other(file, content):
    """Python's limits on digits and on recursion are not the user's to read."""
    with pytest.raises(UsageError, match=r"probe\.toml"):
        file(content)


LITERALS = st.one_of(
    st.integers(-(2**63), 2**63 - 1).map(str),
    st.floats().map(str),
    st.booleans().map(lambda b: str(b).lower()),
    st.sampled_from(['"text"', "'proc'", '"eth0"', "[]", "[7]", '["lo"]', "[true]", "{}", "{a=1}"]),
    st.sampled_from(["1979-05-27", "07:32:00", "0x1F", "+nan", "1e5", "", "[[1]]", '"""x"""']),
)
KEYS = st.sampled_from([*FILE_KEYS, "xyzzy", '"in terval"', "interval.x", "[pid]"])


@given(
    st.one_of(
        st.binary(max_size=200),
        st.lists(st.tuples(KEYS, LITERALS).map(" = ".join), max_size=7)
        .map("\n".join)
        .map(str.encode),
    )
)
def test_any_file_is_settings_or_a_mistake(tmp_path_factory, content):
    """Known keys with values of their types, or UsageError; nothing else."""
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_bytes(content)
    try:
        found = read_file(path)
    except UsageError:
        return
    assert found.keys() <= FILE_KEYS.keys()
    assert all(isinstance(found[key], list) for key in ("pid", "interface") if key in found)
