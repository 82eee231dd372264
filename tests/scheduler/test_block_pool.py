"""The block pool and the prefix cache under 10,000 random operations: nothing leaks, nothing is counted twice."""

from collections import Counter

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tidemill.core.kv_cache import KVCacheGroup
from tidemill.scheduler.block_pool import BlockPool
from tidemill.scheduler.prefix_cache import PrefixCache

NUM_BLOCKS = 12
GROUPS = (KVCacheGroup((0,), None), KVCacheGroup((1,), 8))
names = st.integers(0, 9).map(lambda n: n.to_bytes(1))


class PoolMachine(RuleBasedStateMachine):
    """A model beside the pool: who holds what, and in which order the idle ones were used."""

    def __init__(self) -> None:
        super().__init__()
        self.cache = PrefixCache(GROUPS, 4)
        self.pool = BlockPool(NUM_BLOCKS, evicted=self.evict)
        self.held: list[int] = []
        self.cached: dict[tuple[int, bytes], int] = {}
        self.idle: list[int] = []
        self.evicted: list[int] = []

    def evict(self, page: int) -> None:
        self.cache.forget(page)
        self.evicted.append(page)

    @precondition(lambda self: self.pool.num_free)
    @rule()
    def allocate(self) -> None:
        num_empty = self.pool.num_free - len(self.idle)
        page = self.pool.allocate()
        assert 0 < page < NUM_BLOCKS
        assert page not in self.held
        if num_empty:
            assert page not in self.idle, "content is kept while there are empty pages"
        else:
            assert self.evicted[-1] == page == self.idle.pop(0), "least recently used first"
            self.cached = {key: kept for key, kept in self.cached.items() if kept != page}
        self.held.append(page)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        page = self.held.pop(data.draw(st.integers(0, len(self.held) - 1)))
        self.pool.release(page)
        if page not in self.held and page in self.cached.values():
            self.idle.append(page)

    @precondition(lambda self: self.held)
    @rule(data=st.data(), group=st.integers(0, 1), name=names)
    def publish(self, data: st.DataObject, group: int, name: bytes) -> None:
        page = self.held[data.draw(st.integers(0, len(self.held) - 1))]
        if page in self.cached.values():
            return
        is_new = self.cache.insert(group, name, page)
        assert is_new == ((group, name) not in self.cached)
        if is_new:
            self.pool.retain(page)
            self.cached[group, name] = page

    @rule(group=st.integers(0, 1), name=names)
    def hit(self, group: int, name: bytes) -> None:
        page = self.cache.find(group, name)
        assert page == self.cached.get((group, name))
        if page is not None:
            self.pool.share(page)
            self.held.append(page)
            self.idle = [idle for idle in self.idle if idle != page]

    @invariant()
    def adds_up(self) -> None:
        references = Counter(self.held)
        assert [self.pool.references(page) for page in range(NUM_BLOCKS)] == [references[p] for p in range(NUM_BLOCKS)]
        assert self.pool.num_used == len(references)
        assert self.pool.num_used + self.pool.num_free == NUM_BLOCKS - 1
        assert self.pool.references(0) == 0
        assert len(self.cache) == len(self.cached)

    def teardown(self) -> None:
        for page in self.held:
            self.pool.release(page)
        assert self.pool.num_used == 0
        taken = {self.pool.allocate() for _ in range(NUM_BLOCKS - 1)}
        assert taken == set(range(1, NUM_BLOCKS))
        assert len(self.cache) == 0


TestPool = PoolMachine.TestCase
TestPool.settings = settings(
    max_examples=200, stateful_step_count=100, deadline=None, suppress_health_check=list(HealthCheck)
)
