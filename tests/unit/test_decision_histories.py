"""The histories of the controller."""

from faults.decision_histories import DecisionFault, random_decision_history
from faults.decision_policies import hash_of, policy_text

from kubernaut.signalprocessing.policy import sources


def test_seed_gives_the_same_history_each_time():
    assert [random_decision_history(seed) for seed in range(50)] == [
        random_decision_history(seed) for seed in range(50)
    ]


def test_faults_that_are_not_possible_leave_the_others_as_they_are():
    for seed in range(50):
        with_all = random_decision_history(seed).actions
        possible = random_decision_history(seed, has_clocks=False).actions
        assert possible == tuple(each for each in with_all if each.fault is not DecisionFault.CLOCK_JUMP)


def test_two_hundred_seeds_have_every_fault():
    found = {action.fault for seed in range(200) for action in random_decision_history(seed).actions}

    assert found == set(DecisionFault)


def test_hash_of_a_version_is_the_controllers():
    assert hash_of("v1") == sources.from_text(policy_text("v1")).hash
