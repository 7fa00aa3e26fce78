/* Blocks of 2**order pages behind the JSON-lines protocol (docs/adapters.md), first fit in a map of the pages:
 * cc buddy_lines.c -o buddy_lines && kmemspec validate page-allocator command:./buddy_lines */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char taken[8192];
static int pages;

static int number(const char *line, const char *key)      /* the number behind "key": */
{
	const char *at = strstr(line, key);
	return at ? atoi(at + strlen(key)) : 0;
}

static int take(int size)                                 /* the first free run that is a multiple of its size */
{
	for (int page = 0; page + size <= pages; page += size)
		if (!memchr(taken + page, 1, size)) {
			memset(taken + page, 1, size);
			return page;
		}
	return -1;
}

int main(void)
{
	for (char line[4096]; fgets(line, sizeof line, stdin); fflush(stdout)) {
		int size = 1 << number(line, "\"order\":"), page = -1;
		if (strstr(line, "\"op\": \"init\""))
			pages = number(line, "\"pages\":");
		else if (strstr(line, "\"op\": \"alloc\""))
			page = take(size);
		else
			memset(taken + number(line, "\"at\":"), 0, size);
		printf(page < 0 ? "{\"at\": null}\n" : "{\"at\": %d}\n", page);
	}
}
