/* A first-fit heap in a static arena of 1 MiB that merges eagerly. Correct as it stands; -DBUG_… puts one bug into it. */
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ARENA (1 << 20)
#define UNIT 16

struct chunk { size_t size; size_t used; };          /* size counts the header too */

static _Alignas(4096) unsigned char arena[ARENA];
static int ready;

static struct chunk *first(void)
{
	if (!ready) {
		*(struct chunk *)arena = (struct chunk){ ARENA, 0 };
		ready = 1;
	}
	return (struct chunk *)arena;
}

static struct chunk *following(struct chunk *c)
{
	unsigned char *at = (unsigned char *)c + c->size;
	return at < arena + ARENA ? (struct chunk *)at : NULL;
}

void *PREFIX(malloc)(size_t size)
{
#ifndef BUG_WRAPS
	if (size > ARENA)
		return NULL;
#endif
	size_t need = (size + sizeof(struct chunk) + UNIT - 1) / UNIT * UNIT;
#ifdef BUG_SHORT
	if (size % 128 == 1)
		need -= UNIT;
#endif
	for (struct chunk *c = first(); c; c = following(c)) {
		if (c->used || c->size < need)
			continue;
		if (c->size - need > sizeof(struct chunk)) {
			*(struct chunk *)((unsigned char *)c + need) = (struct chunk){ c->size - need, 0 };
			c->size = need;
		}
		c->used = 1;
#ifdef BUG_MISALIGNED
		if (size == 48)
			return (unsigned char *)(c + 1) + 8;
#endif
		return c + 1;
	}
	return NULL;
}

void PREFIX(free)(void *block)
{
	struct chunk *c = (struct chunk *)block - 1;
#ifdef BUG_CRASHES
	if (c->size > 4096)
		*(volatile int *)8 = 1;
#endif
#ifdef BUG_EXITS
	if (c->size > 4096)
		_exit(0);
#endif
#ifdef BUG_HANGS
	while (c->size > 4096)
		;
#endif
#ifdef BUG_ABORTS
	if (c->size > 4096)
		abort();
#endif
	c->used = 0;
#ifdef BUG_SCRIBBLES
	((unsigned char *)block)[c->size] = 0;
#endif
#ifndef BUG_NEVER_MERGES
	for (c = first(); c; c = following(c))
		while (!c->used && following(c) && !following(c)->used)
			c->size += following(c)->size;
#endif
}

void *PREFIX(calloc)(size_t count, size_t size)
{
#ifndef BUG_CALLOC_OVERFLOW
	if (size && count > SIZE_MAX / size)
		return NULL;
#endif
	void *block = PREFIX(malloc)(count * size);
#ifndef BUG_NOT_ZEROED
	if (block)
		memset(block, 0, count * size);
#endif
	return block;
}

void *PREFIX(realloc)(void *block, size_t size)
{
	size_t old = ((struct chunk *)block - 1)->size - sizeof(struct chunk);
#ifdef BUG_REALLOC_FREES_FIRST
	if (size > ARENA) {
		memset(block, 0, 8);
		return NULL;
	}
#endif
	void *moved = PREFIX(malloc)(size);
	if (!moved)
		return NULL;
#ifdef BUG_REALLOC_PREFIX
	memcpy(moved, block, (old < size ? old : size) / 2);
#else
	memcpy(moved, block, old < size ? old : size);
#endif
	PREFIX(free)(block);
	return moved;
}
