"""Caches hold no more than they may, forget what was used longest ago, and tell inputs apart."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.caches.answers import AnswerCache
from serving.caches.fingerprint import fingerprint
from serving.caches.lru import ENTRY_BYTES, ByteCache
from serving.caches.memory import MemoryCache
from serving.decoding.hypothesis import FinishReason, Hypothesis
from serving.decoding.step import Encoded
from serving.request import CacheHit, Decoded
from tests.fakes.markov import MarkovModel, random_table, source


def full_of(count, value_bytes=100):
    return ByteCache(count * (value_bytes + ENTRY_BYTES))


# ---- bounded in bytes


def test_what_was_used_longest_ago_goes_first():
    cache = full_of(2)
    cache.put(b"a", 1, 100)
    cache.put(b"b", 2, 100)
    assert cache.get(b"a") == 1
    cache.put(b"c", 3, 100)
    assert [cache.get(key) for key in (b"a", b"b", b"c")] == [1, None, 3]
    stats = cache.snapshot()
    assert (stats.hits, stats.misses, stats.evictions, stats.entries) == (3, 1, 1, 2)
    assert stats.held_bytes == stats.limit_bytes == 2 * (100 + ENTRY_BYTES)


def test_a_value_larger_than_the_cache_is_not_kept_and_takes_nobody_elses_place():
    cache = full_of(2)
    cache.put(b"a", 1, 100)
    cache.put(b"b", 2, 2 * (100 + ENTRY_BYTES))
    assert (cache.get(b"a"), cache.get(b"b")) == (1, None)
    cache.put(b"a", 3, 10**9)
    assert cache.get(b"a") is None, "the older value is not the newest any more"
    assert cache.snapshot().held_bytes == 0


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 9), st.integers(0, 900)), max_size=60), st.integers(1, 4000))
def test_a_cache_is_what_a_slow_one_would_be(moves, limit):
    cache, slow, evictions = ByteCache(limit), {}, 0
    for number, (puts, name, size) in enumerate(moves):
        key = bytes([name])
        if not puts:
            found = slow.pop(key, None)
            if found is not None:
                slow[key] = found
            assert cache.get(key) == (None if found is None else found[0])
            continue
        cache.put(key, number, size)
        slow.pop(key, None)
        if size + ENTRY_BYTES <= limit:
            slow[key] = (number, size + ENTRY_BYTES)
        while sum(held for _, held in slow.values()) > limit:
            del slow[next(iter(slow))]
            evictions += 1
        stats = cache.snapshot()
        assert stats.held_bytes == sum(held for _, held in slow.values()) <= limit
        assert (stats.entries, stats.evictions) == (len(slow), evictions)


# ---- keys


def test_a_key_knows_words_names_shapes_types_and_numbers():
    tokens = np.array([3, 4, 2])
    keys = [
        fingerprint(("m",), {"a": tokens}),
        fingerprint(("n",), {"a": tokens}),
        fingerprint(("m", ""), {"a": tokens}),
        fingerprint((), {"a": tokens}),
        fingerprint(("m",), {"b": tokens}),
        fingerprint(("m",), {"a": tokens, "b": tokens}),
        fingerprint(("m",), {"a": tokens[None]}),
        fingerprint(("m",), {"a": tokens.astype(np.uint64)}),
        fingerprint(("m",), {"a": tokens + 1}),
        fingerprint(("a", "bc"), {}),
        fingerprint(("ab", "c"), {}),
    ]
    assert len(set(keys)) == len(keys)
    assert fingerprint(("m",), {"a": np.array([[3, 0], [4, 0], [2, 0]])[:, 0]}) == keys[0], "strides are no matter"
    assert fingerprint(("m",), {"b": tokens, "a": tokens}) == keys[5], "nor is the order of names"


# ---- encoder memory


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 9)), min_size=1, max_size=6))
def test_a_source_comes_back_as_a_batch_of_its_own(sources):
    model = MarkovModel([random_table(chain, 9) for chain in range(3)])
    cache = MemoryCache(10**6).of_model()
    given_inputs = [source(chain, length) for chain, length in sources]
    keys = [cache.key(inputs) for inputs in given_inputs]
    cache.put(keys, model.encode(given_inputs))
    for inputs, key in zip(given_inputs, keys, strict=True):
        expected, found = model.encode([inputs]), cache.get(key)
        for wanted, given_tensors in ((expected.memory, found.memory), (expected.state, found.state)):
            assert wanted.keys() == given_tensors.keys()
            for name, tensor in wanted.items():
                np.testing.assert_array_equal(given_tensors[name], tensor)
                assert given_tensors[name].dtype == tensor.dtype


def test_whoever_writes_into_what_was_found_does_not_write_into_the_cache():
    model = MarkovModel([random_table(0, 9)])
    cache = MemoryCache(10**6).of_model()
    key = cache.key(source(0, 3))
    cache.put([key], model.encode([source(0, 3)]))
    first = cache.get(key)
    for tensor in (*first.memory.values(), *first.state.values()):
        tensor[:] = 7
    assert cache.get(key).memory["memory_mask"].sum() == 3
    assert cache.get(key).state["state.step"].tolist() == [[0]]


def test_models_do_not_find_each_others_sources():
    cache = MemoryCache(10**6)
    model = MarkovModel([random_table(0, 9)])
    one, other = cache.of_model(), cache.of_model()
    one.put([one.key(source(0))], model.encode([source(0)]))
    assert one.get(one.key(source(0))) is not None
    assert other.get(other.key(source(0))) is None
    assert (cache.snapshot().hits, cache.snapshot().misses) == (1, 1)


def test_what_a_model_keeps_on_a_device_is_left_there():
    class OnDevice:
        shape = (1, 2)

    cache = MemoryCache(10**6)
    part = cache.of_model()
    encoded = MarkovModel([random_table(0, 9)]).encode([source(0)])
    part.put([b"key"], Encoded({**encoded.memory, "memory": OnDevice()}, encoded.state))
    assert cache.snapshot().entries == 0


# ---- answers


def hypothesis(attention=None):
    return Hypothesis((3, 2), (-0.5, -0.25), -0.75, -0.75, FinishReason.END_OF_SEQUENCE, attention)


def test_an_answer_comes_back_with_nothing_spent_and_says_where_it_is_from():
    cache = AnswerCache(10**6)
    attention = np.eye(2, dtype=np.float32)
    cache.put(b"key", Decoded((hypothesis(attention),), 1.0, 2.0, 3.0, 4))
    found = cache.get(b"key")
    assert found == Decoded((hypothesis(),), 0.0, 0.0, 0.0, 0, cache_hit=CacheHit.ANSWER)
    np.testing.assert_array_equal(found.hypotheses[0].attention, attention)
    found.hypotheses[0].attention[:] = 5
    np.testing.assert_array_equal(cache.get(b"key").hypotheses[0].attention, attention)


def test_an_answer_that_a_deadline_cut_is_not_kept():
    cache = AnswerCache(10**6)
    cache.put(b"key", Decoded((hypothesis(),), 0.0, 0.0, 0.0, 1, deadline_reached=True))
    assert cache.get(b"key") is None


@pytest.mark.parametrize("count", [1, 50])
def test_attention_counts_as_it_is_kept_and_not_as_what_it_was_cut_from(count):
    cache = AnswerCache(10**7)
    wide = np.zeros((count, 100_000), np.float32)
    cache.put(b"key", Decoded((hypothesis(wide[:, :3]),), 0.0, 0.0, 0.0, 1))
    assert cache.snapshot().held_bytes < 12 * count + 2000
