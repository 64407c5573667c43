// SPDX-License-Identifier: Apache-2.0
/* co.c - coroutines on x86-64 (see co.h; System V ABI for what a switch must keep) */
#include "blk/co.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__)
#define CO_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define CO_ASAN 1
#endif
#endif
#ifdef CO_ASAN
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef __SANITIZE_THREAD__
#include <sanitizer/tsan_interface.h>
#endif

/* The thread that runs coroutines: what is ready, who runs, where to return to. */
struct sched {
	struct co *self, *head, *tail;
	void *sp; /* the ordinary stack, while a coroutine runs */
	void *fiber, *fake;
	const void *bottom;
	size_t size;
	bool running;
};

static _Thread_local struct sched this_thread;

/* Never inlined: a coroutine may have changed threads between two calls. */
static NOINLINE struct sched *sched(void)
{
	struct sched *s = &this_thread;

	__asm__ volatile("" : "+r"(s));
	return s;
}

/* Save the callee-saved registers and the stack pointer in *save, go on at @to. */
void co_switch_(void **save, void *to);
__asm__(".text\n"
	".globl co_switch_\n"
	".hidden co_switch_\n"
	".type co_switch_, @function\n"
	"co_switch_:\n"
	"	push %rbp\n"
	"	push %rbx\n"
	"	push %r12\n"
	"	push %r13\n"
	"	push %r14\n"
	"	push %r15\n"
	"	mov %rsp, (%rdi)\n"
	"	mov %rsi, %rsp\n"
	"	pop %r15\n"
	"	pop %r14\n"
	"	pop %r13\n"
	"	pop %r12\n"
	"	pop %rbx\n"
	"	pop %rbp\n"
	"	ret\n"
	".size co_switch_, .-co_switch_\n");

static void enter(struct sched *s, struct co *c)
{
	s->self = c;
#ifdef CO_ASAN
	__sanitizer_start_switch_fiber(&s->fake, c->stack, CO_STACK);
#endif
#ifdef __SANITIZE_THREAD__
	s->fiber = __tsan_get_current_fiber();
	__tsan_switch_to_fiber(c->fiber, 0);
#endif
	co_switch_(&s->sp, c->sp);
#ifdef CO_ASAN
	__sanitizer_finish_switch_fiber(s->fake, NULL, NULL);
#endif
	s->self = NULL;
}

static NOINLINE void leave(struct co *c)
{
	struct sched *s = sched();
#ifdef CO_ASAN
	void *fake = NULL;

	__sanitizer_start_switch_fiber(c->finished ? NULL : &fake, s->bottom, s->size);
#endif
#ifdef __SANITIZE_THREAD__
	__tsan_switch_to_fiber(s->fiber, 0);
#endif
	co_switch_(&c->sp, s->sp);
#ifdef CO_ASAN
	s = sched();
	__sanitizer_finish_switch_fiber(fake, &s->bottom, &s->size);
#endif
}

static void first(void)
{
	struct co *c = co_self();

#ifdef CO_ASAN
	struct sched *s = sched();

	__sanitizer_finish_switch_fiber(NULL, &s->bottom, &s->size);
#endif
	c->fn(c);
	c->finished = true;
	leave(c);
	__builtin_unreachable();
}

static void *map_stack(void)
{
	void *p = mmap(NULL, CO_STACK, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);

	if (p == MAP_FAILED)
		return NULL;
	if (mprotect(p, (size_t)sysconf(_SC_PAGESIZE), PROT_NONE)) {
		munmap(p, CO_STACK);
		return NULL;
	}
	return p;
}

#define SPARES FUZZ_LESS(0, 16) /* stacks kept: mapping them is most of a small input's work */

static _Thread_local struct {
	void *stack[16];
	unsigned nr;
} spare;

static void *get_stack(void)
{
	return spare.nr ? spare.stack[--spare.nr] : map_stack();
}

static void put_stack(void *p)
{
	if (spare.nr == SPARES)
		munmap(p, CO_STACK);
	else
		spare.stack[spare.nr++] = p;
}

int co_init(struct co *c)
{
	c->stack = get_stack();
	if (!c->stack)
		return -ENOMEM;
#ifdef __SANITIZE_THREAD__
	c->fiber = __tsan_create_fiber(0);
#endif
	return 0;
}

void co_fini(struct co *c)
{
	if (!c->stack)
		return;
#ifdef __SANITIZE_THREAD__
	__tsan_destroy_fiber(c->fiber);
#endif
	put_stack(c->stack);
	c->stack = NULL;
}

struct co *co_self(void)
{
	return sched()->self;
}

static void put_ready(struct sched *s, struct co *c)
{
	c->next = NULL;
	if (s->head)
		s->tail->next = c;
	else
		s->head = c;
	s->tail = c;
}

/* On the outermost ordinary stack: run everything that is ready. */
static void run(struct sched *s)
{
	struct co *c;

	if (s->running || s->self)
		return;
	s->running = true;
	while ((c = s->head)) {
		s->head = c->next;
		enter(s, c);
		if (c->finished)
			c->end(c);
	}
	s->running = false;
}

void co_start(struct co *c)
{
	struct sched *s = sched();
	void **sp = (void **)((u8 *)c->stack + CO_STACK);

	c->finished = c->woken = c->waiting = false;
	*--sp = NULL; /* the stack is 8 off 16 at a function's first instruction */
	*--sp = (void *)first;
	c->sp = sp - 6;
	for (int i = 0; i < 6; i++)
		((void **)c->sp)[i] = NULL;
	put_ready(s, c);
	run(s);
}

void co_wait(void)
{
	struct co *c = co_self();

	if (!c->woken) {
		c->waiting = true;
		leave(c);
		c->waiting = false;
	}
	c->woken = false;
}

void co_wake(struct co *c)
{
	struct sched *s = sched();

	if (c->woken)
		return;
	c->woken = true;
	if (c->waiting) {
		put_ready(s, c);
		run(s);
	}
}

static void enqueue(struct co **head, struct co **tail, struct co *c)
{
	c->next = NULL;
	if (*head)
		(*tail)->next = c;
	else
		*head = c;
	*tail = c;
}

void co_lock(struct co_mutex *m)
{
	struct co *c = co_self();

	if (m->held && c) { /* handed over by co_unlock() */
		enqueue(&m->head, &m->tail, c);
		co_wait();
		return;
	}
	m->held = true;
}

void co_unlock(struct co_mutex *m)
{
	struct co *c = m->head;

	if (!c) {
		m->held = false;
		return;
	}
	m->head = c->next;
	co_wake(c);
}

void co_queue_wait(struct co_queue *q)
{
	enqueue(&q->head, &q->tail, co_self());
	co_wait();
}

void co_queue_wake_all(struct co_queue *q)
{
	struct co *c = q->head, *next;

	q->head = NULL;
	for (; c; c = next) {
		next = c->next;
		co_wake(c);
	}
}
