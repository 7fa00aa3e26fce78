/* A buddy allocator over memory that the caller gives: correct as it stands; -DBUG=n puts bug Dn of the catalogue in.
 *
 * 1 the freed block stays listed at its own order too; 2 merging goes beyond the top order; 3 init does not cap the
 * order; 4 neighbouring ranges are added without merging; 5 merging leaves the neighbours' links to what is merged;
 * 6 an unpaired block is added twice; 7 merging stops after one level; 8 a block is added that only begins inside the
 * memory; 11 a block is smaller than a list node; 12 the size computation overflows; 13 a split lists the wrong half;
 * 19 merging ignores the buddy's order.
 *
 * Where the original checked itself, so does the twin: Rust the index of a list (D2), the report of D5 that what is
 * listed adds up to what there is, jemalloc's debug build that what is taken from a list is what that list holds (D19;
 * 119 is the same without that check). The correct twin has all these checks. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifndef BUG
#define BUG 0
#endif
#if BUG == 11
#define UNIT 8
#else
#define UNIT 16
#endif
#define MOST_PAGES 8192
#define MOST_ORDERS 24
#define FREE 0x80
#define CHECKS_INDEX (BUG == 0 || BUG == 2)
#define CHECKS_SUM (BUG == 0 || BUG == 5)
#define CHECKS_STATE (BUG == 0 || BUG == 19)

struct node { struct node *next, *prev; };

struct buddy {
	unsigned char *base;
	size_t unit, pages, free;
	int orders;
	struct node *lists[MOST_ORDERS + 2];
	unsigned char state[MOST_PAGES + 1];         /* FREE | order, or 1 + order of a live block, at a block's head */
};

static struct node *node_at(struct buddy *b, size_t page) { return (struct node *)(b->base + page * b->unit); }
static size_t page_of(struct buddy *b, void *at) { return (size_t)((unsigned char *)at - b->base) / b->unit; }

static void push(struct buddy *b, size_t page, int order)
{
	struct node *node = node_at(b, page);
#if CHECKS_INDEX
	assert(order < b->orders);
#endif
	node->prev = NULL;
	node->next = b->lists[order];
	if (node->next)
		node->next->prev = node;
	b->lists[order] = node;
	b->state[page] = FREE | order;
}

static void take(struct buddy *b, size_t page, int order)
{
	struct node *node = node_at(b, page);
#if CHECKS_STATE
	assert(b->state[page] == (FREE | order));
#endif
	if (node->prev)
		node->prev->next = node->next;
	else
		b->lists[order] = node->next;
	if (node->next)
		node->next->prev = node->prev;
	b->state[page] = 0;
}

static void check_sum(struct buddy *b)
{
	size_t listed = 0;
	if (!CHECKS_SUM)
		return;
	for (int order = 0; order < b->orders; order++)
		for (struct node *node = b->lists[order]; node && listed <= b->pages; node = node->next)
			listed += (size_t)1 << order;
	assert(listed == b->free);
}

static void *start(struct buddy *b, void *base, size_t unit, size_t pages, int orders)
{
	size_t page = 0;
	if (pages > MOST_PAGES || orders > MOST_ORDERS)
		return NULL;
	memset(b, 0, sizeof *b);
	b->base = base;
	b->unit = unit;
	b->pages = b->free = pages;
	b->orders = orders;
	while (page < pages) {
#if BUG == 3
		int order = MOST_ORDERS;
#elif BUG == 4
		int order = orders > 1 ? orders - 2 : 0;
#else
		int order = orders - 1;
#endif
#if BUG == 8
		while (page % ((size_t)1 << order) || page + ((size_t)1 << order) / 2 >= pages + (order == 0))
			order--;
#else
		while (page % ((size_t)1 << order) || page + ((size_t)1 << order) > pages)
			order--;
#endif
		push(b, page, order);
#if BUG == 6
		if (order == 0 && orders > 1) {
			node_at(b, page)->next = node_at(b, page);
		}
#endif
		page += (size_t)1 << order;
	}
	return b;
}

void *buddy_alloc(struct buddy *b, int order)
{
	int from = order;
	size_t page;
	while (from < b->orders && !b->lists[from])
		from++;
	if (from >= b->orders)
		return NULL;
	page = page_of(b, b->lists[from]);
	take(b, page, from);
	while (from > order) {
		from--;
#if BUG == 13
		push(b, page, from);
#else
		push(b, page + ((size_t)1 << from), from);
#endif
	}
	b->state[page] = 1 + order;
	b->free -= (size_t)1 << order;
	check_sum(b);
	return node_at(b, page);
}

void buddy_free(struct buddy *b, void *block, int order)
{
	size_t page = page_of(b, block);
	b->state[page] = 0;
	b->free += (size_t)1 << order;
#if BUG == 1
	push(b, page, order);
#endif
#if BUG == 2
	while (order < b->orders) {
#else
	while (order < b->orders - 1) {
#endif
		size_t other = page ^ ((size_t)1 << order);
		if (other >= b->pages)
			break;
#if BUG == 19 || BUG == 119
		if (!(b->state[other] & FREE))
			break;
#else
		if (b->state[other] != (FREE | order))
			break;
#endif
#if BUG == 5
		if (!node_at(b, other)->prev)
			b->lists[order] = node_at(b, other)->next;
		b->state[other] = 0;
#else
		take(b, other, order);
#endif
		page &= ~((size_t)1 << order);
		order++;
#if BUG == 7
		break;
#endif
	}
	push(b, page, order);
	check_sum(b);
}

void *buddy_pages(struct buddy *b, void *base, size_t pages, int orders) { return start(b, base, UNIT, pages, orders); }

/* The same as a heap: sizes are rounded up to a power of two. */
void *buddy_heap(struct buddy *b, void *base, size_t bytes)
{
	int orders = 1;
	while (((size_t)UNIT << orders) <= bytes)
		orders++;
	return start(b, base, UNIT, bytes / UNIT, orders);
}

void *buddy_malloc(struct buddy *b, size_t size)
{
	int order = 0;
#if BUG == 12
	size_t units = (size + UNIT - 1) / UNIT;
	while (((size_t)1 << order) < units)
		order++;
#else
	if (size > b->pages * b->unit)
		return NULL;
	while (((size_t)UNIT << order) < size)
		order++;
#endif
	return buddy_alloc(b, order);
}

void buddy_release(struct buddy *b, void *block) { buddy_free(b, block, b->state[page_of(b, block)] - 1); }
