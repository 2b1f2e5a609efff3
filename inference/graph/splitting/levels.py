"""When each node can be computed, counted in joins before it."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Mapping

from inference.graph.indexed import GraphIndex


def levels(graph: GraphIndex, region_of: Mapping[int, int]) -> dict[int, int] | None:
    """For each live node that is not fixed, how many regions lie behind one another before it.

    All nodes of a region have one level. None where regions wait for each other.
    """
    moving = sorted(graph.live - graph.fixed)
    item = {i: -1 - region_of[i] if i in region_of else i for i in moving}
    needs: dict[int, set[int]] = defaultdict(set)
    wanted_by: dict[int, set[int]] = defaultdict(set)
    for index in moving:
        for name in graph.uses[index]:
            maker = item.get(graph.producer.get(name, -1))
            if maker is not None and maker != item[index]:
                needs[item[index]].add(maker)
                wanted_by[maker].add(item[index])
    waiting = {one: len(needs[one]) for one in item.values()}
    level = dict.fromkeys(waiting, 0)
    ready = [one for one, count in waiting.items() if not count]
    heapq.heapify(ready)
    done = 0
    while ready:
        one = heapq.heappop(ready)
        done += 1
        for other in wanted_by[one]:
            level[other] = max(level[other], level[one] + (one < 0))
            waiting[other] -= 1
            if not waiting[other]:
                heapq.heappush(ready, other)
    return {i: level[item[i]] for i in moving} if done == len(waiting) else None
