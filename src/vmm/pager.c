// SPDX-License-Identifier: Apache-2.0
/*
 * pager.c - RAM whose pages another process brings when they are touched first
 *
 * As Firecracker's page handlers expect: on a Unix stream socket one message, a JSON list
 * of mappings with the userfaultfd beside it. We keep the userfaultfd open, so that a
 * handler that ends leaves faults waiting and not pages of zeroes; its end of the socket
 * ends the machine.
 */
#include "vmm/vmm_int.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

static int describe(const struct mem *m, char *buf, size_t len)
{
	struct mem_part part[MEM_PARTS];
	const unsigned long long page = mem_is_huge(m) ? MEM_HUGE : MEM_PAGE;
	int n = snprintf(buf, len, "[");

	mem_parts(m, part);
	for (unsigned i = 0; i < MEM_PARTS; i++)
		if (part[i].len)
			n += snprintf(buf + n, len - (size_t)n,
				      "%s{\"base_host_virt_addr\":%llu,\"size\":%llu,"
				      "\"offset\":%llu,\"page_size\":%llu,\"page_size_kib\":%llu}",
				      i ? "," : "", (unsigned long long)part[i].host,
				      (unsigned long long)part[i].len,
				      (unsigned long long)part[i].file, page, page);
	n += snprintf(buf + n, len - (size_t)n, "]");
	return n;
}

struct mem *pager_memory(const struct vm_config *c, int sock, int dev, int *ret_uffd, struct err *e)
{
	struct mem *m = mem_new(c->memory, e);
	char text[512];
	int r;

	if (m && c->huge_pages && mem_use_huge(m, e)) {
		mem_free(m);
		m = NULL;
	}
	if (!m)
		return NULL;
	r = mem_page_from(m, dev > 0 ? dev : -1, ret_uffd);
	if (r) {
		err_set(e, -r, r == -EPERM ? "page handler: want the right to use userfaultfd for "
					     "the kernel's faults (/dev/userfaultfd)" :
					     "page handler: userfaultfd: %s",
			strerror(-r));
	} else {
		r = fd_send(sock, text, (size_t)describe(m, text, sizeof text), ret_uffd, 1);
		if (r)
			err_set(e, -r, "page handler: %s", strerror(-r));
	}
	if (!r)
		return m;
	fd_close(ret_uffd);
	mem_free(m);
	return NULL;
}

static void pager_event(struct watch *w, u32 events)
{
	struct vm *vm = container_of(w, struct vm, pager);
	struct err e = { 0 };
	char buf[64];

	if (!(events & (EPOLLHUP | EPOLLERR)) && read(w->fd, buf, sizeof buf) > 0)
		return; /* nothing that it has to say is for us */
	err_set(&e, EIO, "the page handler ended");
	vm_fail(vm, &e);
	pager_end(vm);
}

int pager_watch(struct vm *vm, int sock, int uffd, struct err *e)
{
	vm->pager = (struct watch){ .fd = sock, .fn = pager_event };
	vm->pager_uffd = uffd;
	return loop_watch(vm->loop, &vm->pager, EPOLLIN, e);
}

void pager_end(struct vm *vm)
{
	if (vm->pager_uffd < 0)
		return;
	mem_page_end(vm->mem, vm->pager_uffd);
	fd_close(&vm->pager_uffd);
	loop_unwatch(vm->loop, &vm->pager);
	fd_close(&vm->pager.fd);
}
