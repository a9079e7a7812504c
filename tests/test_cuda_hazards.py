"""What of recorded work waits for what; no GPU is needed, and no Numba."""

import numpy as np
import pytest

from fastrnn.cuda.hazards import Access, Hazards


def conflict(one, other):
    """Whether two pieces of work may not change places."""
    return any(
        max(a.begin, b.begin) < min(a.end, b.end) and (a.writes or b.writes)
        for a in one for b in other
    )


def pieces(rng, count, whole):
    """Pieces of work on 12 bytes; ``whole``: each takes parts of 3 that are the same for all."""
    for _ in range(count):
        accesses = []
        for _ in range(rng.integers(1, 4)):
            begin = int(rng.integers(4)) * 3 if whole else int(rng.integers(12))
            end = begin + 3 if whole else int(rng.integers(begin, 13))
            accesses.append(Access(begin, end, bool(rng.random() < 0.4)))
        yield accesses


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("seed", range(30))
def test_what_may_not_change_places_keeps_its_order(seed, whole):
    work = list(pieces(np.random.default_rng(seed), 25, whole))
    hazards = Hazards()
    waits = [hazards.add(accesses) for accesses in work]
    before = []
    for direct in waits:
        before.append(set(direct).union(*(before[i] for i in direct)))
    for j, own in enumerate(work):
        for i in range(j):
            assert i in before[j] or not conflict(work[i], own)
        for i in waits[j]:
            others = [before[k] for k in waits[j] if k != i]
            assert not any(i in known for known in others), "another one waits for it"
            assert not whole or conflict(work[i], own), "nothing would be seen of that order"
    assert set(hazards.last()) == set(range(len(work))).difference(*before)


def test_reading_together_waits_for_nobody():
    hazards = Hazards()
    assert hazards.add([Access(0, 8, True)]) == []
    assert [hazards.add([Access(0, 8, False)]) for _ in range(3)] == [[0], [0], [0]]
    assert hazards.add([Access(4, 6, True)]) == [1, 2, 3]
    assert hazards.add([Access(0, 4, False)]) in ([0], [4])  # 4 wrote to a part of what it reads in
    assert hazards.add([]) == []
    assert hazards.add([Access(5, 5, True)]) == []  # of no bytes
