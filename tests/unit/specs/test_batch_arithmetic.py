"""A global batch is cut without remainder, or not at all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymi.specs.batch import BatchSpec

sizes = st.integers(min_value=1, max_value=512)


@given(micro=sizes, workers=sizes, steps=sizes)
def test_accumulation_undoes_the_product(micro, workers, steps):
    batch = BatchSpec(global_batch_size=micro * workers * steps, micro_batch_size=micro)

    assert batch.accumulation_steps(workers) == steps


@given(size=sizes, micro=sizes, workers=sizes)
def test_a_remainder_is_always_refused(size, micro, workers):
    batch = BatchSpec(global_batch_size=size, micro_batch_size=micro)

    if size % (micro * workers):
        with pytest.raises(ValueError, match="is not a multiple of"):
            batch.accumulation_steps(workers)
    else:
        assert batch.accumulation_steps(workers) * micro * workers == size
