"""The nodes of one site: which are free, how a gang is packed, and what they draw."""

from __future__ import annotations

from typing import Literal

from tafukt.simulator.scenario import NodeType

Allocation = tuple[tuple[int, int], ...]  # (node, GPUs held on it)
Remainder = Literal["share", "whole"]


class Cluster:
    """Nodes of one kind, packed best-fit so that whole nodes stay whole.

    A gang of a node or less goes into one node, the fullest that can take it; a larger one takes whole
    nodes and, for what remains, one part of a node (`share`) or one more whole node (`whole`). Nodes
    that are awake go before nodes that sleep, low numbers before high ones.

    Parameters
    ----------
    node : NodeType
    count : int
        Number of nodes.
    remainder : {'share', 'whole'}
    """

    def __init__(self, node: NodeType, count: int, remainder: Remainder = "share") -> None:
        self.node = node
        self.count = count
        self.remainder: Remainder = remainder
        self.per_node = node.gpus
        self.free = [node.gpus] * count
        # level[f]: the awake nodes with f GPUs free, as a set of bits; asleep and down ones stand apart.
        self.level = [0] * (node.gpus + 1)
        self.asleep = 0
        self.down = 0
        if node.can_sleep:
            self.asleep = (1 << count) - 1
        else:
            self.level[node.gpus] = (1 << count) - 1
        self._up_s = [0.0] * count
        self.free_gpus = node.gpus * count
        self._whole = count
        self.awake = 0 if node.can_sleep else count
        # Sum of intensity x GPUs over what runs here: what stands above idle power.
        self.active = 0.0
        self.busy_gpus = 0
        self.offline = False
        self.empty_since = [0.0] * count
        # Node-seconds awake and asleep: the nodes' own record, which the ledger is checked against.
        self.awake_node_s = self.asleep_node_s = 0.0
        self._tallied = (0.0, self.awake, count - self.awake)
        self._watts_per_gpu = node.dynamic_w

    # --- power -----------------------------------------------------------------------------------

    def draws_w(self, gpus: int, intensity: float, held: int = 0) -> float:
        """Power of a job on this many GPUs, with the part of node idle of all that it holds [W]."""
        return (held or gpus) * self.node.idle_w / self.per_node + gpus * intensity * self._watts_per_gpu

    def tally(self, now_s: float) -> None:
        """Write down how long the nodes stood as they did before the change that has just happened."""
        since, awake, asleep = self._tallied
        self.awake_node_s += awake * (now_s - since)
        self.asleep_node_s += asleep * (now_s - since)
        sleeping = self.count - self.awake - self.down.bit_count()
        self._tallied = (now_s, 0, 0) if self.offline else (now_s, self.awake, sleeping)

    def changed(self, now_s: float) -> float:
        """Something has changed: keep the nodes' own record, and return the IT power now [W]."""
        if self.offline:
            self.tally(now_s)
            return 0.0
        node, awake = self.node, self.awake
        sleeping = self.asleep.bit_count()
        _, were_awake, were_asleep = self._tallied
        if awake != were_awake or sleeping != were_asleep:
            self.tally(now_s)
        return sleeping * node.sleep_w + awake * node.idle_w + self.active * self._watts_per_gpu

    # --- fitting ---------------------------------------------------------------------------------

    def held_for(self, gpus: int) -> int:
        """GPUs that a gang of this size holds: more than it asked for where the rest of a node is lost."""
        rest = gpus % self.per_node
        if gpus > self.per_node and rest and self.remainder == "whole":
            return gpus - rest + self.per_node
        return gpus

    def largest(self) -> int:
        """The largest gang that could start now; every smaller one could as well."""
        if self.offline:
            return 0
        part, level = self.per_node - 1, self.level
        if self._whole and self.remainder == "whole":
            part = 0
        while part and not level[part]:
            part -= 1
        return self._whole * self.per_node + part

    def fits(self, gpus: int) -> bool:
        """Whether a gang of this size could start now."""
        return gpus <= self.largest()

    def place(self, gpus: int, avoid: int = 0) -> Allocation | None:
        """The nodes that a gang would take, `None` if it does not fit; `avoid` is a set of node bits."""
        n = self.per_node
        if gpus <= n:
            node = self._one(gpus, avoid)
            return None if node < 0 else ((node, gpus),)
        whole, rest = divmod(self.held_for(gpus), n)
        part = self._one(rest, avoid, partial=True) if rest else -1
        need = whole + (1 if rest and part < 0 else 0)
        nodes: list[int] = []
        for bits in (self.level[n] & ~avoid, self.asleep & ~avoid):
            while bits and len(nodes) < need:
                low = bits & -bits
                nodes.append(low.bit_length() - 1)
                bits ^= low
        if len(nodes) < need:
            return None
        taken = [(node, n) for node in nodes[:whole]]
        if rest:
            taken.append((part if part >= 0 else nodes[-1], rest))
        return tuple(taken)

    def as_asked(self, nodes: Allocation, gpus: int) -> Allocation | None:
        """These very nodes, if they are free and make up a gang as this site packs it; else `None`."""
        n = self.per_node
        parts = [held for _, held in nodes if held < n]
        if self.offline or len({node for node, _ in nodes}) < len(nodes) or len(parts) > 1:
            return None
        if sum(held for _, held in nodes) != self.held_for(gpus) or (parts and len(nodes) > 1 and gpus <= n):
            return None
        fits = all(0 <= node < self.count and 0 < held <= self.free[node] for node, held in nodes)
        return tuple(nodes) if fits else None

    def _one(self, gpus: int, avoid: int, partial: bool = False) -> int:
        """The fullest awake node with this many GPUs free, else a sleeping one; -1 for none."""
        for f in range(gpus, self.per_node if partial else self.per_node + 1):
            bits = self.level[f] & ~avoid
            if bits:
                return (bits & -bits).bit_length() - 1
        bits = 0 if partial else self.asleep & ~avoid
        return (bits & -bits).bit_length() - 1

    # --- change ----------------------------------------------------------------------------------

    def take(self, allocation: Allocation, now_s: float) -> float:
        """Hold these GPUs from now on, waking nodes where needed; returns when all of them are up [s]."""
        ready_s = now_s
        for node, gpus in allocation:
            bit, free = 1 << node, self.free[node]
            if gpus > free or self.down & bit:
                raise ValueError(f"node {node} has {free} GPUs free, not {gpus}")
            if self.asleep & bit:
                self.asleep ^= bit
                self.awake += 1
                self._up_s[node] = now_s + self.node.wake_s
            else:
                self.level[free] ^= bit
            ready_s = max(ready_s, self._up_s[node])
            if free == self.per_node:
                self._whole -= 1
            self.free[node] = free - gpus
            self.level[free - gpus] |= bit
            self.free_gpus -= gpus
            self.busy_gpus += gpus
        return ready_s

    def up_s(self, allocation: Allocation) -> float:
        """Time at which all of these nodes are or were up [s]."""
        return max(self._up_s[node] for node, _ in allocation)

    def release(self, allocation: Allocation) -> list[int]:
        """Give these GPUs back; returns the nodes that are now empty."""
        emptied = []
        for node, gpus in allocation:
            bit, free = 1 << node, self.free[node]
            self.busy_gpus -= gpus
            self.level[free] ^= bit
            free += gpus
            self.free[node] = free
            self.level[free] |= bit
            self.free_gpus += gpus
            if free == self.per_node:
                self._whole += 1
                emptied.append(node)
        return emptied

    def sleep(self, node: int) -> bool:
        """Send a node to sleep if it is awake and empty; whether it did."""
        bit = 1 << node
        if not self.level[self.per_node] & bit:
            return False
        self.level[self.per_node] ^= bit
        self.asleep |= bit
        self.awake -= 1
        return True

    def fail(self, node: int) -> None:
        """Take an empty node down; it draws nothing until it is repaired."""
        bit = 1 << node
        if self.down & bit:
            return
        if self.asleep & bit:
            self.asleep ^= bit
        else:
            self.level[self.per_node] ^= bit
            self.awake -= 1
        self._whole -= 1
        self.free_gpus -= self.per_node
        self.free[node] = 0
        self.down |= bit

    def repair(self, node: int) -> None:
        """Bring a node back, empty: asleep where nodes sleep, else awake."""
        bit = 1 << node
        if not self.down & bit:
            return
        self.down ^= bit
        self.free[node] = self.per_node
        self.free_gpus += self.per_node
        self._whole += 1
        if self.node.can_sleep:
            self.asleep |= bit
        else:
            self.level[self.per_node] |= bit
            self.awake += 1
