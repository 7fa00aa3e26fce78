/* A cache of objects of one size over memory that the caller gives: correct as it stands; -DBUG=n puts bug Dn of the
 * catalogue in.
 *
 * 10 success is not tied to there being an object: exhausted, it gives NULL plus the header; 15 the begin is aligned
 * by changing the wrong variable, so that the last object reaches behind the memory; 16 the tag bits of the freelist's
 * word are not masked on one path; 17 objects freed into the deferred list are never collected; 23 a bulk free gives
 * the head back and leaks the others; 27 the header of a tiny memory is written without a size check. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifndef BUG
#define BUG 0
#endif
#define SIZE 32
#define HEADER 4

struct slab_cache {
	unsigned char *base;
	size_t objects;
	uintptr_t free, deferred;            /* address of the first free object; bit 0: it has been used before */
	int frees;
};

static uintptr_t untagged(uintptr_t word) { return word & ~(uintptr_t)1; }

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
	for (size_t i = c->objects; i-- > 0;) {
		*(uintptr_t *)(begin + i * SIZE) = c->free;
		c->free = (uintptr_t)(begin + i * SIZE);
	}
	return c;
}

void *slab_alloc(struct slab_cache *c)
{
	uintptr_t object = untagged(c->free);
#if BUG != 17
	if (!object) {
		object = untagged(c->deferred);
		c->free = c->deferred;
		c->deferred = 0;
	}
#endif
	if (!object)
#if BUG == 10
		return (unsigned char *)NULL + HEADER;
#else
		return NULL;
#endif
	c->free = *(uintptr_t *)object;
#if BUG == 16
	if (c->frees > 1)
		return (void *)(object | (c->free & 1));
#endif
	return (void *)object;
}

void slab_free(struct slab_cache *c, void *object)
{
	c->frees++;
#if BUG == 23
	if (c->frees % 2 == 0) {
		*(uintptr_t *)object = 0;            /* the link to the rest of the list is lost */
		c->deferred = (uintptr_t)object | 1;
		return;
	}
#endif
	*(uintptr_t *)object = c->deferred;
	c->deferred = (uintptr_t)object | 1;
}
