"""A slab cache over object numbers, and the same with one thing wrong each."""


class SlabCache:
    """At most `slabs` slabs of `slots` objects; one empty slab is kept."""

    declares = {"keep_empty": 1}  # noqa: RUF012

    def __init__(self, slabs, slots):
        self.slots, self.absent, self.free_slots, self.live = slots, list(range(slabs)), {}, 0

    def alloc(self):
        partial = [slab for slab, free in self.free_slots.items() if free]
        if not partial:
            if not self.absent:
                return None
            partial = [self.absent.pop(0)]
            self.free_slots[partial[0]] = list(range(self.slots))
        self.live += 1
        return partial[0] * self.slots + self.free_slots[partial[0]].pop()

    def empty(self):
        return [slab for slab, free in self.free_slots.items() if len(free) == self.slots]

    def free(self, number):
        self.live -= 1
        slab = number // self.slots
        self.free_slots[slab].append(number % self.slots)
        if slab in self.empty() and len(self.empty()) > 1:
            self.give_back(slab)

    def give_back(self, slab):
        del self.free_slots[slab]
        self.absent.append(slab)

    def shrink(self):
        gone = self.empty()
        for slab in gone:
            self.give_back(slab)
        return len(gone)

    def statistics(self):
        return self.live, len(self.free_slots)


class Plain:
    """alloc and free, and nothing is known but the numbers."""

    def __init__(self, slabs, slots):
        self.left = list(range(slabs * slots))

    def alloc(self):
        return self.left.pop() if self.left else None

    def free(self, number):
        self.left.append(number)


class GivenTwice(Plain):
    def free(self, number):
        super().free(number)
        if number == 1:
            self.left.append(number)


class OutOfSlab(SlabCache):
    def alloc(self):
        number = super().alloc()
        return number if number is not None else self.slots * 1000


class OneTooFew(SlabCache):
    def __init__(self, slabs, slots):
        super().__init__(slabs, slots)
        self.limit = slabs * slots - (slabs * slots > 1)

    def alloc(self):
        return super().alloc() if self.live < self.limit else None


class LeaksSlabs(SlabCache):
    def give_back(self, slab):
        del self.free_slots[slab]


class ShrinkLies(SlabCache):
    def shrink(self):
        return super().shrink() + 1


class KeepsTwo(SlabCache):
    def free(self, number):
        self.live -= 1
        slab = number // self.slots
        self.free_slots[slab].append(number % self.slots)
        if slab in self.empty() and len(self.empty()) > 2:
            self.give_back(slab)


class Misaligned(SlabCache):
    declares = {"keep_empty": 1, "alignment": 2}  # noqa: RUF012
