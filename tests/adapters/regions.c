/* A heap over any number of regions that the caller gives, first fit by a map of units of 16 bytes. -DBUG_x puts one
 * thing wrong. */
#include <stddef.h>
#include <string.h>

enum { UNIT = 16, MOST = 8, UNITS = 256 };
static struct { unsigned char *begin; int units; unsigned char head[UNITS], taken[UNITS]; } regions[MOST];
static int count;

void regions_add(unsigned char *begin, size_t bytes)
{
	memset(&regions[count], 0, sizeof regions[count]);
	regions[count].begin = begin;
	regions[count].units = bytes / UNIT < UNITS ? bytes / UNIT : UNITS;
#ifdef BUG_MARKS                                     /* writes behind the first region */
	if (!count)
		memset(begin + bytes, 0, 1);
#endif
#ifdef BUG_JOINS                                     /* the second region is thought to go on where the first ends */
	if (count == 1) {
		regions[0].units += 4 + regions[1].units;
		return;
	}
#endif
	count++;
}

void regions_init(unsigned char *begin, size_t bytes)
{
	count = 0;
	regions_add(begin, bytes);
}

void *regions_alloc(size_t size)
{
	if (!size || size > UNIT * UNITS)
		return NULL;
	int need = (int)((size + UNIT - 1) / UNIT);
	for (int r = 0; r < count; r++)
		for (int at = 0; at + need <= regions[r].units; at++)
			if (!memchr(regions[r].taken + at, 1, need)) {
				memset(regions[r].taken + at, 1, need);
				regions[r].head[at] = need;
				return regions[r].begin + at * UNIT;
			}
	return NULL;
}

void regions_free(unsigned char *block)
{
	for (int r = 0; r < count; r++)
		if (block >= regions[r].begin && block < regions[r].begin + regions[r].units * UNIT) {
			int at = (int)(block - regions[r].begin) / UNIT;
			memset(regions[r].taken + at, 0, regions[r].head[at]);
		}
}
