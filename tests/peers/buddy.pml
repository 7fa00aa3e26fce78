/*
 * The buddy allocator of Linux 6.1, as a Promela model for Spin: the independent peer of kmemspec's model/buddy.py.
 *
 * The one idea: it was written from a description of the machine, without reading the Python model, and shares no line
 * and no tool with it, so an equal number of reachable states says something (not about a mistake in the description
 * itself, which both follow). One zone, sequential: every action is one d_step, hence one transition.
 * What it describes: Linux 6.1 mm/page_alloc.c (__rmqueue_smallest, expand, __free_one_page, buddy_merge_likely).
 *
 * Parameters, given with -D: PAGES (frames in the zone), ORDERS (MAX_ORDER), START (first frame, default 0),
 * CHECKED (1: the invariants are asserted, once in every reachable state; default 0).
 *
 * Counting. Spin's state vector is the global variables below and the program counter of the only process. The counter
 * has two values in stored states: before boot() (exactly one state) and at the head of the loop. So
 *     states of the machine      = "states, stored" - 1    (the state before boot)
 *     transitions of the machine = "transitions"    - 2    (boot itself; pan counts stored + matched states, and the
 *                                                           state before boot is stored without a transition into it)
 *     longest distance           = "depth reached"  - 1    (breadth-first only; the step boot)
 * An alloc_pages that fails is a transition to the same state. Everything temporary is `hidden`: it is not part of the
 * state vector and cannot split states. Breadth-first pan refuses hidden variables because it would not restore them;
 * here none is read in a d_step before that d_step wrote it, so spin_peer.py takes the refusal out of pan.h.
 *
 * For Spin's sake the vector is small: bit-fields, a struct page in one word, a free_area in another.
 * A link is 1 + the position in the zone and 0 is NULL; `held` is order + 1 and 0 is "not held". Frames outside the zone,
 * whose struct page never changes, are left out of mem_map: they would lengthen every state vector by constants.
 */

#ifndef PAGES
#define PAGES 8
#endif
#ifndef ORDERS
#define ORDERS 3
#endif
#ifndef START
#define START 0
#endif
#ifndef CHECKED
#define CHECKED 0
#endif

#if ORDERS < 1 || ORDERS > 5
#error "1 to 5 orders: more need more actions in init and more bits in ORDER_BITS"
#endif
#if PAGES < 1 || PAGES > 31
#error "1 to 31 pages: more need more actions in init and more bits in LINK_BITS"
#endif

/* Fields just wide enough: at 3 orders a struct page has 14 bits up to 15 pages and 16 up to 31, which C packs into
 * one word (into two bytes with gcc's -fpack-struct=1). */
#if PAGES < 8
#define LINK_BITS 3
#elif PAGES < 16
#define LINK_BITS 4
#else
#define LINK_BITS 5
#endif
#if ORDERS < 4
#define ORDER_BITS 2
#else
#define ORDER_BITS 3
#endif

typedef page_t {
	unsigned next : LINK_BITS;
	unsigned prev : LINK_BITS;
	unsigned order : ORDER_BITS;	/* page_private */
	unsigned held : ORDER_BITS;	/* ghost */
	bit buddy;			/* PageBuddy */
	bit refcount			/* _refcount */
}

typedef free_area_t {
	unsigned first : LINK_BITS;
	unsigned last : LINK_BITS;
	unsigned nr_free : LINK_BITS
}

page_t mem_map[PAGES];
free_area_t free_area[ORDERS];
byte nr_free_pages;

hidden int page, buddy, order, higher, frame, before, after, length, total, covered, found;

#define END (START + PAGES)
#define PAGE(f) mem_map[(f) - START]
#define LINK(f) ((f) - START + 1)
#define FRAME(l) ((l) + START - 1)
#define IN_ZONE(f) ((f) >= START && (f) < END)

/* find_buddy_page_pfn: f is inside the zone and the head of a free block of order o. */
#define IS_BUDDY(f, o) (IN_ZONE(f) && PAGE(f).buddy && PAGE(f).order == (o))

inline add_to_free_list(p, o)
{
	PAGE(p).prev = 0;
	PAGE(p).next = free_area[o].first;
	if
	:: free_area[o].first != 0 -> PAGE(FRAME(free_area[o].first)).prev = LINK(p)
	:: else -> free_area[o].last = LINK(p)
	fi;
	free_area[o].first = LINK(p);
	free_area[o].nr_free++
}

inline add_to_free_list_tail(p, o)
{
	PAGE(p).next = 0;
	PAGE(p).prev = free_area[o].last;
	if
	:: free_area[o].last != 0 -> PAGE(FRAME(free_area[o].last)).next = LINK(p)
	:: else -> free_area[o].first = LINK(p)
	fi;
	free_area[o].last = LINK(p);
	free_area[o].nr_free++
}

inline set_buddy_order(p, o)
{
	PAGE(p).order = o;
	PAGE(p).buddy = 1
}

inline del_page_from_free_list(p, o)
{
	before = PAGE(p).prev;
	after = PAGE(p).next;
	if
	:: before != 0 -> PAGE(FRAME(before)).next = after
	:: else -> free_area[o].first = after
	fi;
	if
	:: after != 0 -> PAGE(FRAME(after)).prev = before
	:: else -> free_area[o].last = before
	fi;
	PAGE(p).next = 0;
	PAGE(p).prev = 0;
	PAGE(p).buddy = 0;
	PAGE(p).order = 0;
	free_area[o].nr_free--
}

/* Merge upwards from (page, order); buddy is the last one looked at, as in the kernel. */
inline merge_buddies()
{
	nr_free_pages = nr_free_pages + (1 << order);
	do
	:: order < ORDERS - 1 ->
		buddy = page ^ (1 << order);
		if
		:: IS_BUDDY(buddy, order) ->
			del_page_from_free_list(buddy, order);
			page = page & buddy;
			order++
		:: else -> break
		fi
	:: else -> break
	od;
	set_buddy_order(page, order)
}

inline boot()
{
	frame = START;
	do
	:: frame < END ->
		length = ORDERS - 1;
		do
		:: (frame & ((1 << length) - 1)) != 0 || frame + (1 << length) > END -> length--
		:: else -> break
		od;
		page = frame;
		order = length;
		merge_buddies();
		add_to_free_list_tail(page, order);
		frame = frame + (1 << length)
	:: else -> break
	od
}

/* When every list from `wanted` up is empty, nothing changes: alloc_pages returned NULL. */
inline alloc_pages(wanted)
{
	order = wanted;
	do
	:: order < ORDERS ->
		if
		:: free_area[order].first != 0 -> break
		:: else -> order++
		fi
	:: else -> break
	od;
	if
	:: order < ORDERS ->
		page = FRAME(free_area[order].first);
		del_page_from_free_list(page, order);
		do
		:: order > wanted ->
			order--;
			buddy = page + (1 << order);
			add_to_free_list(buddy, order);
			set_buddy_order(buddy, order)
		:: else -> break
		od;
		nr_free_pages = nr_free_pages - (1 << wanted);
		PAGE(page).refcount = 1;
		PAGE(page).held = wanted + 1
	:: else
	fi
}

inline free_pages(p)
{
	page = p;
	order = PAGE(p).held - 1;
	PAGE(p).refcount = 0;
	PAGE(p).held = 0;
	merge_buddies();
	higher = page & buddy;
	if
	:: order < ORDERS - 2 && IS_BUDDY(higher ^ (1 << (order + 1)), order + 1) -> add_to_free_list_tail(page, order)
	:: else -> add_to_free_list(page, order)
	fi
}

/* The invariants, checked on the state as it is.
 * Lists: both directions, the ends, membership <=> PageBuddy with this order, nr_free == length (and so no cycle).
 * Blocks: one walk through the frames; a frame below `covered` lies inside an earlier block, so a head there is an
 * overlap, and any other frame must be the head of exactly one free or held block: disjoint, covering. */
inline check_invariants()
{
	total = 0;
	order = 0;
	do
	:: order < ORDERS ->
		length = 0;
		before = 0;
		after = free_area[order].first;
		do
		:: after != 0 ->
			assert(length < PAGES);
			frame = FRAME(after);
			assert(IS_BUDDY(frame, order));
			assert(PAGE(frame).prev == before);
			length++;
			before = after;
			after = PAGE(frame).next
		:: else -> break
		od;
		assert(free_area[order].last == before);
		assert(free_area[order].nr_free == length);
		found = 0;
		frame = START;
		do
		:: frame < END ->
			if
			:: PAGE(frame).buddy && PAGE(frame).order == order -> found++
			:: else
			fi;
			frame++
		:: else -> break
		od;
		assert(found == length);
		total = total + length * (1 << order);
		order++
	:: else -> break
	od;
	assert(nr_free_pages == total);

	covered = START;
	frame = START;
	do
	:: frame < END ->
		assert(PAGE(frame).refcount == (PAGE(frame).held != 0));
		if
		:: PAGE(frame).buddy ->
			order = PAGE(frame).order;
			assert(order < ORDERS);
			assert(PAGE(frame).held == 0);
			assert(order == ORDERS - 1 || !IS_BUDDY(frame ^ (1 << order), order))
		:: else ->
			assert(PAGE(frame).order == 0);
			assert(PAGE(frame).next == 0 && PAGE(frame).prev == 0);
			order = PAGE(frame).held - 1
		fi;
		if
		:: PAGE(frame).buddy || PAGE(frame).held != 0 ->
			assert((frame & ((1 << order) - 1)) == 0);
			assert(frame == covered);
			covered = frame + (1 << order)
		:: else ->
			assert(frame < covered)
		fi;
		frame++
	:: else -> break
	od;
	assert(covered == END)
}

#if CHECKED
#define CHECK check_invariants()
#else
#define CHECK skip
#endif

#define ALLOC(o) d_step { true; alloc_pages(o) }
#define FREE(f) d_step { PAGE(f).held != 0 -> free_pages(f) }

init {
	d_step { boot(); skip }; /* a loop may not be the last statement of a d_step */
	do
	/* This action is enabled in every state and pan expands every state once: so here, before anything changes, is
	 * where each state is checked once. After every transition it would be nine times the work; an action of its own
	 * would add a self-loop to every state. */
	:: d_step { true; CHECK; alloc_pages(0) }
#if ORDERS > 1
	:: ALLOC(1)
#endif
#if ORDERS > 2
	:: ALLOC(2)
#endif
#if ORDERS > 3
	:: ALLOC(3)
#endif
#if ORDERS > 4
	:: ALLOC(4)
#endif
#if PAGES > 0
	:: FREE(START + 0)
#endif
#if PAGES > 1
	:: FREE(START + 1)
#endif
#if PAGES > 2
	:: FREE(START + 2)
#endif
#if PAGES > 3
	:: FREE(START + 3)
#endif
#if PAGES > 4
	:: FREE(START + 4)
#endif
#if PAGES > 5
	:: FREE(START + 5)
#endif
#if PAGES > 6
	:: FREE(START + 6)
#endif
#if PAGES > 7
	:: FREE(START + 7)
#endif
#if PAGES > 8
	:: FREE(START + 8)
#endif
#if PAGES > 9
	:: FREE(START + 9)
#endif
#if PAGES > 10
	:: FREE(START + 10)
#endif
#if PAGES > 11
	:: FREE(START + 11)
#endif
#if PAGES > 12
	:: FREE(START + 12)
#endif
#if PAGES > 13
	:: FREE(START + 13)
#endif
#if PAGES > 14
	:: FREE(START + 14)
#endif
#if PAGES > 15
	:: FREE(START + 15)
#endif
#if PAGES > 16
	:: FREE(START + 16)
#endif
#if PAGES > 17
	:: FREE(START + 17)
#endif
#if PAGES > 18
	:: FREE(START + 18)
#endif
#if PAGES > 19
	:: FREE(START + 19)
#endif
#if PAGES > 20
	:: FREE(START + 20)
#endif
#if PAGES > 21
	:: FREE(START + 21)
#endif
#if PAGES > 22
	:: FREE(START + 22)
#endif
#if PAGES > 23
	:: FREE(START + 23)
#endif
#if PAGES > 24
	:: FREE(START + 24)
#endif
#if PAGES > 25
	:: FREE(START + 25)
#endif
#if PAGES > 26
	:: FREE(START + 26)
#endif
#if PAGES > 27
	:: FREE(START + 27)
#endif
#if PAGES > 28
	:: FREE(START + 28)
#endif
#if PAGES > 29
	:: FREE(START + 29)
#endif
#if PAGES > 30
	:: FREE(START + 30)
#endif
	od
}
