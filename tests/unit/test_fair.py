"""Room and work are shared so that who has little comes first."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from xctl_probe.fair import Room, choose, shares

ASKED = st.dictionaries(st.integers(0, 9), st.integers(0, 101), max_size=9)


@given(ASKED, st.integers(0, 211))
def test_shares_are_fair_and_use_all_the_room(asked, room):
    """None gets more than it asked for, and who gets less has no less than any other."""
    given_ = shares(asked, room)
    assert all(given_[who] <= count for who, count in asked.items())
    assert sum(given_.values()) == min(room, sum(asked.values()))
    short = [given_[who] for who, count in asked.items() if given_[who] < count]
    assert all(max(given_.values()) - 1 <= count for count in short)


def test_one_user_leaves_room_for_the_next():
    """The first may have a half; what no user can cause may have all that is left."""
    room = Room(101)
    taken = 0
    while room.take("first", 1):
        taken += 1
    assert taken == 51
    assert room.take("second", 25)
    assert not room.take("second", 25)
    assert room.take(None, 25)
    room.give_back("first", 51)
    assert room.take("second", 7)


@given(
    st.dictionaries(
        st.integers(0, 4),
        st.dictionaries(st.integers(0, 4), st.integers(1, 23), min_size=1, max_size=5),
        max_size=5,
    ),
    st.integers(0, 97),
    st.integers(0, 7),
)
def test_what_is_chosen_and_what_is_left_out_are_all(counts, room, turn):
    asked, number = {}, 0
    for user, of in counts.items():
        asked[user] = {}
        for process, count in of.items():
            asked[user][process] = list(range(number, number + count))
            number += count
    kept, refused = choose(asked, room, 13, turn)
    assert len(set(kept)) == len(kept) <= room
    assert len(kept) + sum(refused.values()) == number


def test_in_turn_all_of_a_process_are_chosen():
    """Half of the places stays with the same, for stalls that last; the other half goes round."""
    asked = {0: {233: list(range(101))}}
    rounds = [set(choose(asked, 16, 101, turn)[0]) for turn in range(12)]
    assert set.intersection(*rounds) >= set(range(8))
    assert set.union(*rounds) == set(range(101))


def test_the_space_that_is_used_is_known():
    """With what has no limit."""
    room = Room(101)
    room.take(7, 23)
    room.add(None, 102)
    room.give_back(7, 11)
    assert room.used == 114
