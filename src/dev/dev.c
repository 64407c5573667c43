// SPDX-License-Identifier: Apache-2.0
/* dev.c - device instances; see dev.h */
#include "dev/dev.h"

#include "base/trace.h"

#include <errno.h>
#include <stdlib.h>

struct dev *dev_new(const struct dev_class *c, const char *id, const struct dev_env *env,
		    const void *cfg, struct err *e)
{
	struct dev *d = calloc(1, c->size);

	if (!d) {
		err_set(e, ENOMEM, "%s: out of memory", id);
		return NULL;
	}
	d->class = c;
	d->id = id;
	d->env = *env;
	if (c->init && c->init(d, cfg, e) < 0) {
		err_wrap(e, "%s (%s)", id, c->name);
		free(d);
		return NULL;
	}
	if (c->reset)
		c->reset(d);
	return d;
}

void dev_free(struct dev *d)
{
	if (!d)
		return;
	if (d->class->fini)
		d->class->fini(d);
	free(d);
}

void dev_guest_error(struct dev *d, const char *what)
{
	if (d->guest_errors < UINT32_MAX)
		d->guest_errors++;
	if (unlikely(trace_on[TRACE_GUEST_ERROR])) {
		trace_emit(TRACE_GUEST_ERROR, d->id, d->guest_errors, 0, 0);
		trace_emit(TRACE_GUEST_ERROR, what, d->guest_errors, 0, 0);
	}
}
