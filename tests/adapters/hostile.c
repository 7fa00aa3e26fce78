/* A heap that never gives anything back, as a library; -DWRONG_… is what it does besides. */
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static _Alignas(64) unsigned char arena[64 << 20];
static size_t top, live;
static int calls;

static void misbehave(void)
{
#ifdef WRONG_SEGFAULTS
	if (calls == 100)
		*(volatile int *)16 = 1;
#endif
#ifdef WRONG_FORKS
	if (fork() == 0)
		for (;;)
			pause();
#endif
#ifdef WRONG_RETURNS_TWICE
	fork();
#endif
#ifdef WRONG_SLEEPS
	for (;;)
		pause();
#endif
#ifdef WRONG_CLOSES
	for (int i = 0; i < 1024; i++)
		close(i);
#endif
#ifdef WRONG_GARBAGE
	for (int i = 3; i < 1024; i++)
		if (write(i, "\377 garbage {\n", 12) < 0)
			continue;
#endif
#ifdef WRONG_EXITS
	_exit(0);
#endif
#ifdef WRONG_STOPS
	raise(SIGSTOP);
#endif
#ifdef WRONG_EATS
	for (int i = 0; i < 1 << 20; i++) {
		void *at = mmap(NULL, 64 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (at == MAP_FAILED)
			abort();
	}
#endif
}

void *bad_malloc(size_t size)
{
	size_t at = top;
	if (++calls > 1 && live)
		misbehave();
	if (size > sizeof arena)
		return NULL;
	size = (size + 15) & ~(size_t)15;
	if (size == 0)
		size = 16;
	if (at + size > sizeof arena)
		return NULL;
#ifdef WRONG_TWICE
	if (live && size == 32)
		return arena + at - 16;
#endif
#ifdef WRONG_ALIGNMENT
	if (live)
		at += 4;
#endif
#ifdef WRONG_WRITES
	if (live)
		arena[at - 1] ^= 1;
#endif
	top = at + size;
	live++;
	return arena + at;
}

void bad_free(void *block)
{
	if (--live == 0)
		top = 0;
}
