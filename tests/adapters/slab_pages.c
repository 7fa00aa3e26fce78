/* Objects of 32 bytes in slabs of 128 that are multiples of 128: a slab begins with its header, three objects follow.
 * -DBUG_x puts one thing wrong. */
#define _GNU_SOURCE
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

enum { SIZE = 32, SLAB = 128, SLABS = 4, ROOM = 4096 };
#ifdef BUG_STRADDLES                                 /* four objects behind a smaller header: the last one is cut off */
enum { HEADER = 16, SLOTS = 4 };
#elif defined BUG_FOUR                               /* no header at all, and one object more than declared */
enum { HEADER = 0, SLOTS = 4 };
#else
enum { HEADER = 32, SLOTS = 3 };
#endif

static unsigned char *memory, used[SLABS][SLOTS];

static unsigned char *place(int slab, int slot)
{
#ifdef BUG_STRAY                                     /* the last object of all lies in no slab of the cache */
	if (slab == SLABS - 1 && slot == SLOTS - 1)
		return memory + 2 * SLABS * SLAB;
#endif
	return memory + slab * SLAB + HEADER + slot * SIZE;
}

void slabs_init(void)
{
#ifdef BUG_READ_ONLY                                 /* memory that cannot be written */
	memory = mmap(NULL, ROOM, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
#else
	memory = mmap(NULL, ROOM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
#endif
}

void *slabs_alloc(void)
{
	for (int i = 0; i < SLABS * SLOTS; i++)
		if (!used[i / SLOTS][i % SLOTS]) {
			used[i / SLOTS][i % SLOTS] = 1;
			return place(i / SLOTS, i % SLOTS);
		}
	return NULL;
}

int slabs_free(void *object)
{
	for (int i = 0; i < SLABS * SLOTS; i++)
		if (place(i / SLOTS, i % SLOTS) == object) {
			int was = used[i / SLOTS][i % SLOTS];
			used[i / SLOTS][i % SLOTS] = 0;
#ifdef BUG_TWICE
			return 0;
#endif
			return !was;
		}
	return 1;
}
