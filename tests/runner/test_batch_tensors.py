import array

import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.runner.batches import new_sequence, scheduled
from tidemill.core.kv_cache import KVCacheGroup, KVCacheLayout
from tidemill.runner.batch_tensors import build_batch_tensors
from tidemill.runner.sequence_state import SequenceState

CPU = torch.device("cpu")


@st.composite
def steps(draw):
    """Sequences with their chunk of rows, and block tables of two groups with distinct pages."""
    block_size = draw(st.integers(1, 5))
    sequences, page = [], 1
    for sequence_id in range(draw(st.integers(1, 5))):
        length = draw(st.integers(1, 30))
        start = draw(st.integers(0, length - 1))
        num_tokens = draw(st.integers(1, length - start))
        num_blocks = -(-(start + num_tokens) // block_size) + draw(st.integers(0, 2))
        tables = []
        for group in range(2):
            table = list(range(page, page + num_blocks))
            page += num_blocks
            if group == 1:
                left_behind = draw(st.integers(0, start // block_size))
                table[:left_behind] = [0] * left_behind
            tables.append(array.array("i", table) if draw(st.booleans()) else table)
        state = SequenceState(new_sequence(sequence_id, [100 * sequence_id + i for i in range(length)]), vocab_size=999)
        sequences.append((scheduled(sequence_id, start, num_tokens, *tables), state))
    groups = (KVCacheGroup((0,), None), KVCacheGroup((1,), 7))
    return sequences, KVCacheLayout(num_blocks=page, block_size=block_size, block_bytes=1, groups=groups)


@given(steps(), st.sampled_from([None, 16]))
def test_every_row_is_where_it_belongs(step, row_tile):
    sequences, layout = step
    tensors = build_batch_tensors(sequences, layout, row_tile=row_tile, device=CPU)
    num_padded = tensors.token_ids.numel()
    assert row_tile is None or num_padded % row_tile == 0
    row = 0
    for index, (part, _) in enumerate(sequences):
        assert tensors.row_starts[index] == row
        for position in range(part.start, part.start + part.num_tokens):
            assert tensors.token_ids[row] == 100 * part.sequence_id + position
            assert tensors.positions[row] == position
            for group, attention in enumerate(tensors.attention):
                page = part.block_tables[group][position // layout.block_size]
                slot = page * layout.block_size + position % layout.block_size
                assert attention.slot_mapping[row] == slot
            row += 1
    for attention, group in zip(tensors.attention, layout.groups, strict=True):
        assert attention.num_rows == row
        assert attention.window == group.window
        assert attention.slot_mapping.numel() == num_padded
        assert (attention.slot_mapping[row:] < layout.block_size).all()
        assert attention.query_starts.tolist() == [*tensors.row_starts, row]
        assert attention.query_lens == tuple(part.num_tokens for part, _ in sequences)
        assert attention.start_positions.tolist() == [part.start for part, _ in sequences]
        ends = [part.start + part.num_tokens for part, _ in sequences]
        assert attention.context_lens.tolist() == list(attention.context_lens_list) == ends
    assert (tensors.token_ids[row:] == 0).all()
    assert (tensors.positions[row:] == 0).all()


@given(steps())
def test_tables_end_where_the_context_ends(step):
    sequences, layout = step
    tensors = build_batch_tensors(sequences, layout, row_tile=16, device=CPU)
    for group, attention in enumerate(tensors.attention):
        for index, (part, _) in enumerate(sequences):
            needed = -(-(part.start + part.num_tokens) // layout.block_size)
            found = attention.block_tables[index].tolist()
            assert found[:needed] == list(part.block_tables[group])[:needed]
            assert set(found[needed:]) <= {0}
