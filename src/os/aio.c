// SPDX-License-Identifier: Apache-2.0
/* aio.c - one aio for all users of a loop (see aio.h) */
#include "os/aio.h"

struct aio *aio_new(struct loop *l, struct err *e)
{
	struct aio **shared = loop_aio(l), *a = *shared;
	struct err why;

	if (a) {
		a->users++;
		return a;
	}
	a = aio_new_uring(l, &why);
	if (!a)
		a = aio_new_threads(l, e);
	if (a)
		a->loop = l;
	*shared = a;
	return a;
}

void aio_free(struct aio *a)
{
	if (a->users) {
		a->users--;
		return;
	}
	if (a->loop)
		*loop_aio(a->loop) = NULL;
	a->ops->free(a);
}
