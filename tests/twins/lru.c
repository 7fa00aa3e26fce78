/* A cache that evicts the entry that was not used for the longest time: correct as it stands; -DBUG=n puts a bug of the
 * catalogue in.
 *
 * 22 the scan for a key stops one entry early (D22: the budget is decremented before the test); 122 the scan begins with
 * a budget of 0 and never meets its stop (D22, the other half); 23 moving a page frees an entry's header and leaks its
 * chunk, which the next move takes for one of a live entry; 24 deleting unlinks the entry twice (D24). */
#include <stddef.h>
#include <stdlib.h>

#ifndef BUG
#define BUG 0
#endif

/* An entry is a header and a chunk with its value, each in a page of its own; the chunk knows its header. */
struct chunk { struct entry *entry; long value; };
struct entry { struct entry *next, *prev; struct chunk *chunk; long key; };
struct lru { struct entry head, *headers; struct chunk *chunks; int length, capacity; };

static void unlink_entry(struct entry *e) { e->next->prev = e->prev; e->prev->next = e->next; }

static void link_first(struct lru *c, struct entry *e)
{
	e->next = c->head.next;
	e->prev = &c->head;
	c->head.next->prev = e;
	c->head.next = e;
}

static struct entry *find(struct lru *c, long key)
{
	struct entry *e = c->head.next;
	int budget = c->length;
#if BUG == 22
	while (--budget > 0) {
#elif BUG == 122
	budget = c->length > 1 ? budget : 0;
	while (--budget != 0) {                      /* from 0 it runs through the whole range of int, again and again */
		if (budget < -1000)
			budget = -1;
#else
	while (budget-- > 0) {
#endif
		if (e->key == key)
			return e;
		e = e->next;
	}
	return NULL;
}

static void release_header(struct entry *e)
{
	e->next = e->prev = NULL;
	e->chunk = NULL;
}

static void discard(struct lru *c, struct entry *e)
{
	unlink_entry(e);
#if BUG == 24
	unlink_entry(e);
	c->length--;
#endif
	c->length--;
	e->chunk->entry = NULL;
	release_header(e);
}

void *lru_create(int capacity)
{
	struct lru *c = calloc(1, sizeof *c);
	c->head.next = c->head.prev = &c->head;
	c->headers = calloc(capacity, sizeof *c->headers);
	c->chunks = calloc(capacity, sizeof *c->chunks);
	c->capacity = capacity;
	return c;
}

long lru_get(struct lru *c, long key)
{
	struct entry *e = find(c, key);
	if (!e)
		return -1;
	unlink_entry(e);
	link_first(c, e);
	return e->chunk->value;
}

static struct entry *new_entry(struct lru *c, long key)
{
	struct entry *e = c->headers;
	struct chunk *chunk = c->chunks;
	while (chunk < c->chunks + c->capacity && chunk->entry)
		chunk++;
	if (chunk == c->chunks + c->capacity)
		return NULL;                         /* out of memory; there is always a chunk if none is leaked */
	while (e->chunk)
		e++;
	e->key = key;
	e->chunk = chunk;
	chunk->entry = e;
	return e;
}

void lru_put(struct lru *c, long key, long value)
{
	struct entry *e = find(c, key);
	if (e) {
		unlink_entry(e);
	} else {
		if (c->capacity > 0 && c->length == c->capacity)
			discard(c, c->head.prev);
		e = new_entry(c, key);
		if (!e)
			return;
		c->length++;
	}
	e->chunk->value = value;
	link_first(c, e);
}

int lru_delete(struct lru *c, long key)
{
	struct entry *e = find(c, key);
	if (e)
		discard(c, e);
	return e != NULL;
}

/* Move the page of the headers, then the page of the chunks: whatever lies on a page that is moved goes. */
void lru_clear(struct lru *c)
{
	for (struct entry *e = c->headers; e < c->headers + c->capacity; e++) {
		if (!e->chunk)
			continue;
#if BUG == 23
		unlink_entry(e);
		c->length--;
		release_header(e);
#else
		discard(c, e);
#endif
	}
	for (struct chunk *chunk = c->chunks; chunk < c->chunks + c->capacity; chunk++)
		if (chunk->entry)
			discard(c, chunk->entry);
}

int lru_length(struct lru *c) { return c->length; }
