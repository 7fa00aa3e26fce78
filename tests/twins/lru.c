/* A cache that evicts the entry that was not used for the longest time: correct as it stands; -DBUG=n puts a bug of the
 * catalogue in.
 *
 * 22 the scan for a key stops one entry early (D22: the budget is decremented before the test); 122 the scan begins with
 * a budget of 0 and never meets its stop (D22, the other half); 24 deleting unlinks the entry twice (D24). */
#include <stddef.h>
#include <stdlib.h>

#ifndef BUG
#define BUG 0
#endif

struct entry { struct entry *next, *prev; long key, value; };
struct lru { struct entry head; int length, capacity; };

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

static void discard(struct lru *c, struct entry *e)
{
	unlink_entry(e);
#if BUG == 24
	unlink_entry(e);
	c->length--;
#endif
	c->length--;
	free(e);
}

void *lru_create(int capacity)
{
	struct lru *c = calloc(1, sizeof *c);
	c->head.next = c->head.prev = &c->head;
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
	return e->value;
}

void lru_put(struct lru *c, long key, long value)
{
	struct entry *e = find(c, key);
	if (e) {
		unlink_entry(e);
	} else {
		if (c->capacity == 0)
			return;
		if (c->length == c->capacity) {
			struct entry *last = c->head.prev;
			unlink_entry(last);
			c->length--;
			free(last);
		}
		e = malloc(sizeof *e);
		e->key = key;
		c->length++;
	}
	e->value = value;
	link_first(c, e);
}

int lru_delete(struct lru *c, long key)
{
	struct entry *e = find(c, key);
	if (e)
		discard(c, e);
	return e != NULL;
}

int lru_length(struct lru *c) { return c->length; }
