"""A busy machine is said to be busy."""

from raymi.bench.train_speed import busy_note


def test_an_idle_machine_is_nothing_to_speak_of():
    assert busy_note(load=0.3, num_cpus=2) is None


def test_a_busy_machine_is_named_with_its_load():
    note = busy_note(load=3.07, num_cpus=2)

    assert note is not None
    assert "load 3.1 on 2 CPUs" in note
