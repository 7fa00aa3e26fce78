/* A cache of objects of one size over memory that the caller gives: correct as it stands; -DBUG=n puts bug Dn of the
 * catalogue in.
 *
 * 10 success is not tied to there being an object: exhausted, it gives NULL plus the header; 15 the begin is aligned
 * by changing the wrong variable, so that the last object reaches behind the memory; 16 the check for a double free takes
 * the deferred list's word with its tag for a pointer; 17 only the current heap's deferred frees are collected, not those
 * of the thread's other heap; 27 the header of a tiny memory is written without a size check. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifndef BUG
#define BUG 0
#endif
#define SIZE 32
#define HEADER 4

#define HEAPS 2
#define CURRENT 1
#define TAG 1

/* Free objects are listed by their addresses. A word of a deferred list carries a tag, the empty list's word too. */
struct heap { uintptr_t free, deferred; };

/* The heaps of one thread: an object belongs to the heap that its place says, and is freed into that one's list. */
struct slab_cache {
	unsigned char *base;
	size_t objects;
	struct heap heaps[HEAPS];
};

static uintptr_t untagged(uintptr_t word) { return word & ~(uintptr_t)TAG; }

void *slab_create(struct slab_cache *c, unsigned char *memory, size_t bytes)
{
	unsigned char *begin = (unsigned char *)(((uintptr_t)memory + SIZE - 1) / SIZE * SIZE);
#if BUG == 15
	size_t room = bytes + SIZE - 1;
#else
	size_t room = begin < memory + bytes ? (size_t)(memory + bytes - begin) : 0;
#endif
	memset(c, 0, sizeof *c);
	c->base = begin;
	c->objects = room / SIZE;
#if BUG == 27
	if (!c->objects)
		c->objects = 1;
#endif
	for (int i = 0; i < HEAPS; i++)
		c->heaps[i].deferred = TAG;
	for (size_t i = c->objects; i-- > 0;) {
		struct heap *owner = &c->heaps[i % HEAPS];
		*(uintptr_t *)(begin + i * SIZE) = owner->free;
		owner->free = (uintptr_t)(begin + i * SIZE);
	}
	return c;
}

static void collect(struct heap *heap)
{
	heap->free = untagged(heap->deferred);
	heap->deferred = TAG;
}

void *slab_alloc(struct slab_cache *c)
{
	for (int i = 0; i < HEAPS; i++) {
		struct heap *heap = &c->heaps[i];
		uintptr_t object;
#if BUG == 17
		if (!heap->free && i == CURRENT)
#else
		if (!heap->free)
#endif
			collect(heap);
		object = heap->free;
		if (object) {
			heap->free = untagged(*(uintptr_t *)object);
			return (void *)object;
		}
	}
#if BUG == 10
	return (unsigned char *)NULL + HEADER;
#else
	return NULL;
#endif
}

static int is_deferred(struct heap *heap, uintptr_t object)
{
#if BUG == 16
	uintptr_t listed = heap->deferred;
#else
	uintptr_t listed = untagged(heap->deferred);
#endif
	while (listed && listed != object)
		listed = untagged(*(uintptr_t *)listed);
	return listed != 0;
}

void slab_free(struct slab_cache *c, void *object)
{
	struct heap *owner = &c->heaps[((unsigned char *)object - c->base) / SIZE % HEAPS];
	if (is_deferred(owner, (uintptr_t)object))
		return;                              /* freed twice: ignored */
	*(uintptr_t *)object = owner->deferred;
	owner->deferred = (uintptr_t)object | TAG;
}
