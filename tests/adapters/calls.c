/* The same two things by calls of other forms, for the tests: a pool whose blocks come and go by variables, a cache of
 * any numbers. -DBUG_x puts one thing wrong. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { OBJECTS = 6, BYTES = 64, ENTRIES = 8 };
static unsigned char memory[OBJECTS][BYTES] __attribute__((aligned(16)));
static int used[OBJECTS];

/* Leaves a block in *block and what it has in *size; the variable must be NULL before, and *size what is asked for. */
int calls_take(void **block, size_t *size, int *always_seven)
{
	if (*block != NULL || *size > BYTES || *size == 0 || *always_seven != 7)
		return -1;
	for (int i = 0; i < OBJECTS; i++)
		if (!used[i]) {
			used[i] = 1;
#ifdef BUG_SHARED
			*block = memory[i & ~1];
#else
			*block = memory[i];
#endif
			*size = BYTES;
			return 0;
		}
	return -1;
}

/* Frees what the variable has, and makes it NULL. */
int calls_give(void **block)
{
	for (int i = 0; i < OBJECTS; i++)
		if (*block == memory[i] && used[i]) {
			used[i] = 0;
			*block = NULL;
			return 0;
		}
	return -1;
}

/* An LRU of which -1 is as good a value as any other; a number of its own says that there is none. */
static struct { long key, value, when; } entries[ENTRIES];
static long now, capacity;

void calls_cache(long most)
{
	memset(entries, 0, sizeof entries);
	capacity = most;
}

long calls_get(long key)
{
	for (int i = 0; i < capacity; i++)
		if (entries[i].when && entries[i].key == key) {
			entries[i].when = ++now;
#ifdef BUG_MINUS_ONE
			return -1;
#else
			return entries[i].value;
#endif
		}
	return -2000000;
}

void calls_put(long key, long value)
{
	int place = 0;
	for (int i = capacity - 1; i >= 0; i--)
		if (entries[i].when < entries[place].when)
			place = i;
	for (int i = 0; i < capacity; i++)
		if (entries[i].when && entries[i].key == key)
			place = i;
	entries[place].key = key;
	entries[place].value = value;
	entries[place].when = ++now;
}

/* 1 if it was there, else -1. */
int calls_delete(long key)
{
	for (int i = 0; i < capacity; i++)
		if (entries[i].when && entries[i].key == key) {
			entries[i].when = 0;
			return 1;
		}
	return -1;
}
