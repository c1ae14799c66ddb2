"""Several servers behind client-side round robin, with one lost and all rolled."""

import pytest

from benchmarks.cluster import disturb


@pytest.mark.slow
@pytest.mark.e2e
def test_no_call_fails_while_servers_die_and_are_replaced() -> None:
    phases = disturb(count=2, clients=4, calls=150)
    assert list(phases) == [
        "quiet",
        "one killed",
        "back again",
        "rolled to version 2",
        "quiet afterwards",
    ]
    for name, phase in phases.items():
        assert phase["failed"] == [], name
        assert phase["wrong"] == [], name
        assert phase["calls"] >= 150, name
    assert set(phases["quiet"]["by_version"]) == {1}
    assert set(phases["one killed"]["by_version"]) == {1}
    assert set(phases["rolled to version 2"]["by_version"]) == {1, 2}
    assert set(phases["quiet afterwards"]["by_version"]) == {2}
