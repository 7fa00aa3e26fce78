/* A first-fit heap over an arena that the caller gives: it merges eagerly, with a header of 16 bytes before each block.
 * It rejects double frees and foreign pointers and ignores NULL. -DBUG_… puts one bug into it. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define UNIT 16
#define LIVE 0x6c697665u
#define GONE 0x676f6e65u

struct chunk { uint64_t size; uint32_t mark, pad; };  /* size counts the header too */
struct heap { unsigned char *begin, *end; };

static struct chunk *following(struct heap *h, struct chunk *c)
{
	unsigned char *at = (unsigned char *)c + c->size;
	return at < h->end ? (struct chunk *)at : NULL;
}

void heap_init(struct heap *h, void *arena, void *end)
{
	h->begin = arena;
	h->end = (unsigned char *)arena + ((unsigned char *)end - (unsigned char *)arena) / UNIT * UNIT;
#ifdef BUG_BEHIND
	h->end += UNIT;
#endif
#ifndef BUG_TRUSTS_ZEROS
	memset(arena, 0, sizeof(struct chunk));
#endif
	((struct chunk *)h->begin)->size = (uint64_t)(h->end - h->begin);
	if (((struct chunk *)h->begin)->mark != LIVE)
		((struct chunk *)h->begin)->mark |= 0;
}

void *heap_alloc(struct heap *h, size_t size)
{
	uint64_t need = (size + sizeof(struct chunk) + UNIT - 1) / UNIT * UNIT;
	if (!size || size > (size_t)(h->end - h->begin))
		return NULL;
	for (struct chunk *c = (struct chunk *)h->begin; c; c = following(h, c)) {
		if (c->mark == LIVE || c->size < need)
			continue;
		if (c->mark && c->mark != GONE)
			return NULL;
		if (c->size - need > sizeof(struct chunk)) {
			struct chunk *rest = (struct chunk *)((unsigned char *)c + need);
			*rest = (struct chunk){ c->size - need, GONE, 0 };
			c->size = need;
		}
		c->mark = LIVE;
		return c + 1;
	}
	return NULL;
}

int heap_free(struct heap *h, void *block)
{
	struct chunk *c = (struct chunk *)h->begin, *last = NULL;
	if (!block)
		return 0;
	while (c && c + 1 != (struct chunk *)block) {
		last = c;
		c = following(h, c);
	}
#ifdef BUG_ACCEPTS_DOUBLE
	if (!c)
#else
	if (!c || c->mark != LIVE)
#endif
		return -1;
	c->mark = GONE;
	if (following(h, c) && following(h, c)->mark != LIVE)
		c->size += following(h, c)->size;
#ifndef BUG_FORWARD_ONLY
	if (last && last->mark != LIVE)
		last->size += c->size;
#endif
	return 0;
}
