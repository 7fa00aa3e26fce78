/*
 * The slab allocator of Linux 6.1, as a Promela model for Spin: an independent peer of kmemspec's model/slub.py.
 *
 * The one idea: it was written from the kernel's mm/slub.c, without reading the Python model, and shares no line and no
 * tool with it, so an equal number of reachable states says something. One cache, one node, slabs of one page, no pages
 * of higher order (the free pages are a stack), sequential: every action is one d_step, hence one transition.
 * What it describes: Linux 6.1 mm/slub.c without debugging, with CONFIG_SLUB_CPU_PARTIAL.
 *
 * Parameters, given with -D or before this text: PAGES (1 to 6), OBJECTS (of a slab, 1 to 3), CPUS (1 or 2),
 * MIN_PARTIAL, CPU_PARTIAL_SLABS. How states, transitions and distances are counted is written in buddy.pml; why the
 * temporaries are hidden, too.
 *
 * A link to a page is 1 + its number, a pointer to an object 1 + its slot; 0 is NULL. `fp` has two bits for each slot,
 * its free pointer; that of an object in use is 0, so that what was once in it cannot split states.
 */

#ifndef PAGES
#define PAGES 2
#endif
#ifndef OBJECTS
#define OBJECTS 2
#endif
#ifndef CPUS
#define CPUS 2
#endif
#ifndef MIN_PARTIAL
#define MIN_PARTIAL 1
#endif
#ifndef CPU_PARTIAL_SLABS
#define CPU_PARTIAL_SLABS 2
#endif

#if PAGES < 1 || PAGES > 6 || OBJECTS < 1 || OBJECTS > 3 || CPUS < 1 || CPUS > 2
#error "1 to 6 pages, 1 to 3 objects, 1 or 2 cpus: more need more actions in init and wider fields"
#endif

typedef slab_t {
	unsigned next : 3;	/* slab_list.next, a cpu partial list, or the stack of free pages */
	unsigned slabs : 3;
	unsigned freelist : 2;
	unsigned inuse : 2;
	unsigned fp : 6;
	unsigned held : 3;	/* ghost: a bit for each slot */
	bit frozen
}

typedef cpu_t {
	unsigned slab : 3;
	unsigned freelist : 2;
	unsigned partial : 3
}

slab_t page[PAGES];
cpu_t cpu[CPUS];
unsigned free_first : 3;
unsigned node_first : 3;
unsigned nr_partial : 3;

hidden int slab, slot, prior, remote, iterator, last, count, chain, following, discard, old, surplus, taken, end, number;
hidden int promoted1, promoted2;

#define SLAB(link) page[(link) - 1]
#define FP(link, o) ((SLAB(link).fp >> (2 * ((o) - 1))) & 3)
#define SET_FP(link, o, v) SLAB(link).fp = (SLAB(link).fp & ~(3 << (2 * ((o) - 1)))) | ((v) << (2 * ((o) - 1)))
#define BIT(o) (1 << ((o) - 1))

inline discard_slab(link)
{
	assert(SLAB(link).held == 0 && SLAB(link).inuse == 0 && !SLAB(link).frozen);
	SLAB(link).freelist = 0;
	SLAB(link).fp = 0;
	SLAB(link).slabs = 0;
	SLAB(link).next = free_first;
	free_first = link
}

inline discard_all()
{
	do
	:: discard != 0 ->
		following = SLAB(discard).next;
		discard_slab(discard);
		discard = following
	:: else -> break
	od
}

inline add_partial_head(link)
{
	SLAB(link).next = node_first;
	node_first = link;
	nr_partial++
}

inline add_partial_tail(link)
{
	SLAB(link).next = 0;
	if
	:: node_first == 0 -> node_first = link
	:: else ->
		end = node_first;
		do
		:: SLAB(end).next != 0 -> end = SLAB(end).next
		:: else -> break
		od;
		SLAB(end).next = link
	fi;
	nr_partial++
}

inline remove_partial(link)
{
	if
	:: node_first == link -> node_first = SLAB(link).next
	:: else ->
		end = node_first;
		do
		:: SLAB(end).next != link -> end = SLAB(end).next
		:: else -> break
		od;
		SLAB(end).next = SLAB(link).next
	fi;
	SLAB(link).next = 0;
	nr_partial--
}

/* `first` is the cpu's freelist, which goes before the slab's. */
inline deactivate_slab(link, first)
{
	assert(SLAB(link).frozen);
	remote = SLAB(link).freelist;
	iterator = first;
	last = 0;
	count = 0;
	do
	:: iterator != 0 ->
		last = iterator;
		count++;
		iterator = FP(link, iterator)
	:: else -> break
	od;
	if
	:: last != 0 ->
		SET_FP(link, last, remote);
		SLAB(link).freelist = first;
		SLAB(link).inuse = SLAB(link).inuse - count
	:: else
	fi;
	SLAB(link).frozen = 0;
	if
	:: SLAB(link).inuse == 0 && nr_partial >= MIN_PARTIAL -> discard_slab(link)
	:: else ->
		if
		:: remote != 0 -> add_partial_tail(link)
		:: remote == 0 && SLAB(link).freelist != 0 -> add_partial_head(link)
		:: else
		fi
	fi
}

/* The slabs of `surplus`, from its first on; those to be discarded form a stack. */
inline unfreeze_partials()
{
	chain = surplus;
	discard = 0;
	do
	:: chain != 0 ->
		following = SLAB(chain).next;
		assert(SLAB(chain).frozen);
		SLAB(chain).frozen = 0;
		SLAB(chain).slabs = 0;
		if
		:: SLAB(chain).inuse == 0 && nr_partial >= MIN_PARTIAL ->
			SLAB(chain).next = discard;
			discard = chain
		:: else -> add_partial_tail(chain)
		fi;
		chain = following
	:: else -> break
	od;
	discard_all()
}

inline put_cpu_partial(c, link, drain)
{
	old = cpu[c].partial;
	surplus = 0;
	count = 0;
	if
	:: old != 0 && drain && SLAB(old).slabs >= CPU_PARTIAL_SLABS ->
		surplus = old;
		old = 0
	:: old != 0 && !(drain && SLAB(old).slabs >= CPU_PARTIAL_SLABS) -> count = SLAB(old).slabs
	:: else
	fi;
	SLAB(link).slabs = count + 1;
	SLAB(link).next = old;
	cpu[c].partial = link;
	unfreeze_partials()
}

/* The cpu slab and the cpu partial slabs: afterwards the cpu has a freelist, or neither a slab nor partial slabs. */
inline take_own_slab(c)
{
	do
	:: cpu[c].slab != 0 ->
		slab = cpu[c].slab;
		if
		:: cpu[c].freelist != 0 -> break
		:: cpu[c].freelist == 0 && SLAB(slab).freelist != 0 ->
			cpu[c].freelist = SLAB(slab).freelist;
			SLAB(slab).freelist = 0;
			SLAB(slab).inuse = OBJECTS;
			break
		:: else ->
			SLAB(slab).frozen = 0;
			cpu[c].slab = 0
		fi
	:: cpu[c].slab == 0 && cpu[c].partial != 0 ->
		slab = cpu[c].partial;
		cpu[c].slab = slab;
		cpu[c].partial = SLAB(slab).next;
		SLAB(slab).next = 0;
		SLAB(slab).slabs = 0
	:: else -> break
	od
}

inline get_partial_node(c)
{
	taken = 0;
	do
	:: node_first != 0 && taken <= CPU_PARTIAL_SLABS / 2 ->
		slab = node_first;
		remove_partial(slab);
		assert(!SLAB(slab).frozen && SLAB(slab).freelist != 0);
		SLAB(slab).frozen = 1;
		if
		:: cpu[c].slab == 0 ->
			cpu[c].slab = slab;
			cpu[c].freelist = SLAB(slab).freelist;
			SLAB(slab).freelist = 0;
			SLAB(slab).inuse = OBJECTS
		:: else ->
			put_cpu_partial(c, slab, 0);
			taken++
		fi
	:: else -> break
	od
}

/* `way` numbers the orders that a new freelist can have. */
#if OBJECTS == 1
#define WAYS 1
#define FIRST(way) 1
#define SET_FREELIST(way) SLAB(slab).fp = 0
#elif OBJECTS == 2
#define WAYS 2
#define FIRST(way) ((way) + 1)
#define SET_FREELIST(way) SLAB(slab).fp = (2 - (way)) << (2 * (way))
#else
#define WAYS 6
#define FIRST(way) ((way) / 2 + 1)
#define LOWER(way) ((way) / 2 == 0 -> 2 : 1)
#define HIGHER(way) ((way) / 2 == 2 -> 2 : 3)
#define SECOND(way) ((way) % 2 == 0 -> LOWER(way) : HIGHER(way))
#define THIRD(way) ((way) % 2 == 0 -> HIGHER(way) : LOWER(way))
#define SET_FREELIST(way) SLAB(slab).fp = 0; SET_FP(slab, FIRST(way), SECOND(way)); SET_FP(slab, SECOND(way), THIRD(way))
#endif

inline new_slab(c, way)
{
	slab = free_first;
	free_first = SLAB(slab).next;
	SLAB(slab).next = 0;
	SLAB(slab).frozen = 1;
	SLAB(slab).inuse = OBJECTS;
	SET_FREELIST(way);
	cpu[c].slab = slab;
	cpu[c].freelist = FIRST(way)
}

inline kmem_cache_alloc(c, way)
{
	take_own_slab(c);
	if
	:: cpu[c].slab == 0 -> get_partial_node(c)
	:: else
	fi;
	if
	:: cpu[c].slab == 0 && free_first != 0 -> new_slab(c, way)
	:: else
	fi;
	if
	:: cpu[c].slab != 0 ->
		slab = cpu[c].slab;
		slot = cpu[c].freelist;
		assert(slot != 0 && SLAB(slab).frozen && !(SLAB(slab).held & BIT(slot)));
		cpu[c].freelist = FP(slab, slot);
		SET_FP(slab, slot, 0);
		SLAB(slab).held = SLAB(slab).held | BIT(slot)
	:: else
	fi
}

inline kmem_cache_free(c, link, o)
{
	SLAB(link).held = SLAB(link).held & ~BIT(o);
	if
	:: cpu[c].slab == link ->
		SET_FP(link, o, cpu[c].freelist);
		cpu[c].freelist = o
	:: else ->
		prior = SLAB(link).freelist;
		SET_FP(link, o, prior);
		SLAB(link).freelist = o;
		SLAB(link).inuse = SLAB(link).inuse - 1;
		if
		:: !SLAB(link).frozen && prior == 0 ->
			SLAB(link).frozen = 1;
			put_cpu_partial(c, link, 1)
		:: !SLAB(link).frozen && prior != 0 && SLAB(link).inuse == 0 && nr_partial >= MIN_PARTIAL ->
			remove_partial(link);
			discard_slab(link)
		:: else
		fi
	fi
}

inline flush_cpu_slab(c)
{
	slab = cpu[c].slab;
	slot = cpu[c].freelist;
	cpu[c].slab = 0;
	cpu[c].freelist = 0;
	if
	:: slab != 0 -> deactivate_slab(slab, slot)
	:: else
	fi;
	surplus = cpu[c].partial;
	cpu[c].partial = 0;
	unfreeze_partials()
}

/* Takes the node's list apart: the empty slabs form a stack, and `sorting` those with 1 and 2 free slots too; without
 * it the others stay in order. */
inline take_apart(sorting)
{
	chain = node_first;
	node_first = 0;
	nr_partial = 0;
	discard = 0;
	promoted1 = 0;
	promoted2 = 0;
	do
	:: chain != 0 ->
		following = SLAB(chain).next;
		if
		:: SLAB(chain).inuse == 0 ->
			SLAB(chain).next = discard;
			discard = chain
		:: SLAB(chain).inuse != 0 && !(sorting) -> add_partial_tail(chain)
		:: SLAB(chain).inuse != 0 && sorting && SLAB(chain).inuse == OBJECTS - 1 ->
			SLAB(chain).next = promoted1;
			promoted1 = chain
		:: else ->
			SLAB(chain).next = promoted2;
			promoted2 = chain
		fi;
		chain = following
	:: else -> break
	od
}

inline kmem_cache_shrink()
{
	take_apart(1);
	do
	:: promoted1 != 0 ->
		following = SLAB(promoted1).next;
		add_partial_tail(promoted1);
		promoted1 = following
	:: else -> break
	od;
	do
	:: promoted2 != 0 ->
		following = SLAB(promoted2).next;
		add_partial_tail(promoted2);
		promoted2 = following
	:: else -> break
	od;
	discard_all()
}

inline kmem_cache_shutdown()
{
	take_apart(0);
	discard_all()
}

/* Another order than the first is a step of its own only where a slab is made. */
#define MAKES_SLAB(c) (cpu[c].freelist == 0 && cpu[c].partial == 0 && node_first == 0 && free_first != 0 && \
	(cpu[c].slab == 0 || SLAB(cpu[c].slab).freelist == 0))

/* A request names the only node, or none. */
#define ALLOC(c, way) \
	:: d_step { MAKES_SLAB(c) -> kmem_cache_alloc(c, way); skip } \
	:: d_step { MAKES_SLAB(c) -> kmem_cache_alloc(c, way); skip }
#define FREE(c, p, o) :: d_step { (page[p].held & BIT(o)) != 0 -> kmem_cache_free(c, p + 1, o); skip }
#if OBJECTS == 1
#define FREE_ALL(c, p) FREE(c, p, 1)
#elif OBJECTS == 2
#define FREE_ALL(c, p) FREE(c, p, 1) FREE(c, p, 2)
#else
#define FREE_ALL(c, p) FREE(c, p, 1) FREE(c, p, 2) FREE(c, p, 3)
#endif

#define FREE0(c) FREE_ALL(c, 0)
#if PAGES > 1
#define FREE1(c) FREE_ALL(c, 1)
#else
#define FREE1(c)
#endif
#if PAGES > 2
#define FREE2(c) FREE_ALL(c, 2)
#else
#define FREE2(c)
#endif
#if PAGES > 3
#define FREE3(c) FREE_ALL(c, 3)
#else
#define FREE3(c)
#endif
#if PAGES > 4
#define FREE4(c) FREE_ALL(c, 4)
#else
#define FREE4(c)
#endif
#if PAGES > 5
#define FREE5(c) FREE_ALL(c, 5)
#else
#define FREE5(c)
#endif
#if WAYS == 1
#define ALLOC_OTHER(c)
#elif WAYS == 2
#define ALLOC_OTHER(c) ALLOC(c, 1)
#else
#define ALLOC_OTHER(c) ALLOC(c, 1) ALLOC(c, 2) ALLOC(c, 3) ALLOC(c, 4) ALLOC(c, 5)
#endif

#define ACTIONS(c) \
	:: d_step { true; kmem_cache_alloc(c, 0); skip } \
	:: d_step { true; kmem_cache_alloc(c, 0); skip } \
	ALLOC_OTHER(c) FREE0(c) FREE1(c) FREE2(c) FREE3(c) FREE4(c) FREE5(c) \
	:: d_step { cpu[c].slab != 0 || cpu[c].partial != 0 -> flush_cpu_slab(c); skip } \
	:: d_step { true; kmem_cache_shrink(); skip } \
	:: d_step { true; kmem_cache_shutdown(); skip }

init {
	d_step {
		free_first = 1;
		number = 1;
		do
		:: number < PAGES ->
			SLAB(number).next = number + 1;
			number++
		:: else -> break
		od;
		number = 0
	};
	do
	ACTIONS(0)
#if CPUS > 1
	ACTIONS(1)
#endif
	od
}
