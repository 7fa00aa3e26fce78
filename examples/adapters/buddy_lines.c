/* A buddy allocator behind the JSON-lines protocol (docs/adapters.md):
 * cc buddy_lines.c -o buddy_lines && kmemspec validate page-allocator command:./buddy_lines */
#include <stdio.h>
#include <string.h>

static int pages, orders, head[8192];                /* head[page]: 1 + order of the free block there, or 0 */

static int number(const char *line, const char *name) /* the number behind "name": */
{
	const char *at = strstr(line, name);
	int value = -1;
	if (at)
		sscanf(at + strlen(name), "\": %d", &value);
	return value;
}

static void merge(int page, int order)
{
	while (order < orders - 1 && (page ^ 1 << order) < pages && head[page ^ 1 << order] == 1 + order) {
		head[page ^ 1 << order] = 0;
		page &= ~(1 << order++);
	}
	head[page] = 1 + order;
}

static int take(int order)
{
	for (int larger = order; larger < orders; larger++)
		for (int page = 0; page < pages; page++)
			if (head[page] == 1 + larger) {
				for (head[page] = 0; larger > order; larger--)
					head[page + (1 << (larger - 1))] = larger;
				return page;
			}
	return -1;
}

int main(void)
{
	char line[4096];
	while (fgets(line, sizeof line, stdin)) {
		int page = -1;
		if (strstr(line, "\"op\": \"init\"")) {
			pages = number(line, "pages");
			orders = number(line, "orders");
			for (int i = 0; i < pages; i++)
				merge(i, 0);
		} else if (strstr(line, "\"op\": \"alloc\""))
			page = take(number(line, "order"));
		else
			merge(number(line, "\"at"), number(line, "order"));
		printf(page < 0 ? "{\"at\": null}\n" : "{\"at\": %d}\n", page);
		fflush(stdout);
	}
	return 0;
}
