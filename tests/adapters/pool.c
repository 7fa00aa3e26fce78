/* A pool of objects of 24 bytes in an arena, its free list in the free objects; -DBUG_x puts one thing wrong. */
#include <stddef.h>
#include <stdint.h>

enum { SIZE = 24 };

struct pool { void *free; unsigned char *next, *end; };

void *pool_init(struct pool *pool, void *arena, size_t bytes)
{
	pool->free = NULL;
	pool->next = arena;
	pool->end = (unsigned char *)arena + bytes;
	return pool;
}

void *pool_alloc(struct pool *pool)
{
	void **object = pool->free;
#ifdef BUG_OVERRUN
	if (!object && pool->next < pool->end) {
#else
	if (!object && pool->end - pool->next >= SIZE) {
#endif
		object = (void **)pool->next;
		pool->next += SIZE;
		return object;
	}
	if (object)
		pool->free = *object;
	return object;
}

void pool_free(struct pool *pool, void *object)
{
#ifdef BUG_SCRIBBLES
	((unsigned char *)object)[SIZE] = 1;
#endif
#ifdef BUG_LEAKS
	if (!pool->free)
		return;
#endif
	*(void **)object = pool->free;
	pool->free = object;
}
