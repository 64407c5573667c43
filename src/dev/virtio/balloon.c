// SPDX-License-Identifier: Apache-2.0
/*
 * balloon.c - memory balloon [virtio 5.5]: pages the guest gives back to the host
 *
 * Three ways: the guest fills a balloon to the size the host asks for; it hints at free
 * pages when told to; it reports free blocks by itself, all the time. The queues of what
 * was not negotiated are left out of the numbering, as drivers do it. Not modelled: page
 * poisoning.
 *
 * A page that is given back reads as zeros, or as anything, afterwards. A hint is acted
 * on only while the guest's command is the host's: Linux may take hinted pages back
 * under memory pressure, so ask for hints when the guest has memory to spare.
 */
#include "base/bits.h"
#include "dev/virtio/virtio.h"
#include "mem/mem.h"

#include <errno.h>
#include <string.h>

enum { F_MUST_TELL_HOST = 1 << 0, F_STATS_VQ = 1 << 1, F_DEFLATE_ON_OOM = 1 << 2 };
enum { F_FREE_PAGE_HINT = 1 << 3, F_REPORTING = 1 << 5 };

/* What a queue is for, in their order. */
enum role { INFLATE, DEFLATE, STATS, HINT, REPORT, NR_ROLES };

static const u32 role_feature[NR_ROLES] = { 0, 0, F_STATS_VQ, F_FREE_PAGE_HINT, F_REPORTING };

enum { HINT_STOP = 0, HINT_DONE = 1, HINT_FIRST = 2 }; /* command numbers */

#define QUEUE_SIZE 128
#define PFNS_MAX   4096 /* in one chain; Linux sends 256 */
#define STATS_MAX  64	/* entries of one report */

struct PACKED balloon_config {
	le32 num_pages, actual, hint_cmd;
};

struct PACKED stat {
	le16 tag;
	le64 val;
};

struct virtio_balloon {
	struct virtio v;
	struct timer poll;
	u32 poll_s; /* 0 = no statistics */
	bool has_stats_buf;
	struct vq_tok stats_buf; /* returned when the next report is wanted */
	u32 stats_known;	 /* bit n: stats[n] was reported */
	u64 stats[VIRTIO_BALLOON_STATS];
	u32 host_cmd, guest_cmd, last_cmd;
	bool guest_has_cmd;
	bool ack_on_stop; /* the guest's last hint ends the command */
};

static struct virtio_balloon *of(struct virtio *v)
{
	return container_of(v, struct virtio_balloon, v);
}

static struct balloon_config *config(struct virtio_balloon *b)
{
	return (struct balloon_config *)b->v.config;
}

static enum role role_of(const struct virtio *v, unsigned n)
{
	enum role r = INFLATE;

	for (; r < NR_ROLES; r++)
		if ((!role_feature[r] || virtio_has(v, role_feature[r])) && !n--)
			break;
	return r;
}

static unsigned queue_of(const struct virtio *v, enum role role)
{
	unsigned n = 0;

	for (enum role r = INFLATE; r < role; r++)
		n += !role_feature[r] || virtio_has(v, role_feature[r]);
	return n;
}

/* -- pages ------------------------------------------------------------------------------- */

/* Shellsort: glibc's qsort() may allocate, and asks the kernel how much memory there is. */
static void sort(u32 *v, size_t n)
{
	static const u16 gaps[] = { 1750, 701, 301, 132, 57, 23, 10, 4, 1 };

	for (unsigned g = 0; g < array_len(gaps); g++) {
		for (size_t i = gaps[g]; i < n; i++) {
			u32 x = v[i];
			size_t k = i;

			for (; k >= gaps[g] && v[k - gaps[g]] > x; k -= gaps[g])
				v[k] = v[k - gaps[g]];
			v[k] = x;
		}
	}
}

/* Give back @n pages, runs of neighbours at once. */
static void discard_pages(struct virtio_balloon *b, u32 *pfn, size_t n)
{
	size_t run;

	sort(pfn, n);
	for (size_t i = 0; i < n; i += run) {
		for (run = 1; i + run < n && pfn[i + run] <= pfn[i + run - 1] + 1;)
			run++;
		if (!mem_discard(b->v.dev.env.mem, (gpa_t)pfn[i] * MEM_PAGE,
				 (pfn[i + run - 1] - pfn[i] + 1ull) * MEM_PAGE))
			dev_guest_error(&b->v.dev, "virtio-balloon: page outside RAM");
	}
}

static void inflate(struct virtio_balloon *b, struct vchain *c)
{
	u32 pfn[PFNS_MAX];
	size_t n = vchain_read(c, pfn, sizeof pfn) / sizeof *pfn;

	if (c->readable > sizeof pfn)
		dev_guest_error(&b->v.dev, "virtio-balloon: too many pages in one buffer");
	for (size_t i = 0; i < n; i++)
		pfn[i] = le32_get((le32){ pfn[i] });
	discard_pages(b, pfn, n);
}

/* The writable part of the chain is free memory, not room for data. */
static void discard_segments(struct virtio_balloon *b, const struct vchain *c)
{
	for (unsigned i = c->nr_out; i < (unsigned)c->nr_out + c->nr_in; i++) {
		gpa_t at = align_up(c->gpa[i], MEM_PAGE);
		gpa_t end = align_down(c->gpa[i] + c->iov[i].iov_len, MEM_PAGE);

		if (at < end && !mem_discard(b->v.dev.env.mem, at, end - at))
			dev_guest_error(&b->v.dev, "virtio-balloon: page outside RAM");
	}
}

/* -- hints ------------------------------------------------------------------------------- */

static void set_host_cmd(struct virtio_balloon *b, u32 cmd)
{
	b->host_cmd = cmd;
	config(b)->hint_cmd = le32_of(cmd);
	virtio_config_changed(&b->v);
}

static void hint(struct virtio_balloon *b, struct vchain *c)
{
	le32 cmd;

	if (vchain_read(c, &cmd, sizeof cmd) == sizeof cmd) {
		b->guest_cmd = le32_get(cmd);
		b->guest_has_cmd = true;
		if (b->guest_cmd == HINT_STOP && b->ack_on_stop && b->host_cmd >= HINT_FIRST)
			set_host_cmd(b, HINT_DONE);
	}
	if (b->host_cmd >= HINT_FIRST && b->guest_has_cmd && b->guest_cmd == b->host_cmd)
		discard_segments(b, c);
}

/* -- statistics -------------------------------------------------------------------------- */

static void arm(struct virtio_balloon *b)
{
	struct clock *clock = b->v.dev.env.clock;

	if (b->poll_s && virtio_running(&b->v) && virtio_has(&b->v, F_STATS_VQ))
		clock_arm(clock, &b->poll, clock_now_ns(clock) + b->poll_s * 1000000000ull);
	else
		clock_disarm(clock, &b->poll);
}

/* Return the buffer: the guest fills it again. */
static void ask_for_stats(struct virtio_balloon *b)
{
	struct virtq *q = &b->v.q[queue_of(&b->v, STATS)];

	if (!b->has_stats_buf)
		return;
	b->has_stats_buf = false;
	vq_push(q, b->stats_buf, 0);
	vq_flush(q);
}

static void poll_stats(struct timer *t, u64 now_ns UNUSED)
{
	struct virtio_balloon *b = container_of(t, struct virtio_balloon, poll);

	ask_for_stats(b);
	arm(b);
}

static void take_stats(struct virtio_balloon *b, struct vchain *c)
{
	struct stat s;

	for (unsigned i = 0; i < STATS_MAX && vchain_read(c, &s, sizeof s) == sizeof s; i++) {
		u16 tag = le16_get(s.tag);

		if (tag >= VIRTIO_BALLOON_STATS)
			continue;
		b->stats[tag] = le64_get(s.val);
		b->stats_known |= BIT(tag);
	}
	ask_for_stats(b); /* two buffers: not what a driver does, but none is lost */
	b->stats_buf = c->tok;
	b->has_stats_buf = true;
}

/* -- the rest ---------------------------------------------------------------------------- */

static void balloon_notify(struct virtio *v, struct virtq *q)
{
	struct virtio_balloon *b = of(v);
	enum role role = role_of(v, q->n);
	struct vchain c;

	while (vq_pop(q, &c)) {
		if (role == STATS) {
			take_stats(b, &c);
			continue;
		}
		if (role == INFLATE)
			inflate(b, &c);
		else if (role == HINT)
			hint(b, &c);
		else if (role == REPORT)
			discard_segments(b, &c);
		vq_push(q, c.tok, 0);
	}
	vq_flush(q);
}

/* The driver says how large the balloon is. */
static void balloon_config_write(struct virtio *v, unsigned off, unsigned size, u32 val)
{
	if (off >= offsetof(struct balloon_config, actual) &&
	    off + size <= offsetof(struct balloon_config, hint_cmd))
		memcpy(v->config + off, &val, size);
}

static void balloon_driver_ok(struct virtio *v)
{
	arm(of(v));
}

static void balloon_reset(struct dev *d)
{
	struct virtio_balloon *b = container_of(d, struct virtio_balloon, v.dev);

	clock_disarm(d->env.clock, &b->poll);
	b->has_stats_buf = false;
	b->stats_known = 0;
	memset(b->stats, 0, sizeof b->stats);
	b->guest_has_cmd = false;
	b->guest_cmd = b->host_cmd = HINT_STOP;
	config(b)->hint_cmd = le32_of(HINT_STOP);
	config(b)->actual = le32_of(0); /* a new driver starts with an empty balloon */
}

static void balloon_fini(struct dev *d)
{
	clock_disarm(d->env.clock, &container_of(d, struct virtio_balloon, v.dev)->poll);
}

static int balloon_init(struct dev *d, const void *cfg, struct err *e UNUSED)
{
	struct virtio_balloon *b = container_of(d, struct virtio_balloon, v.dev);
	const struct virtio_balloon_cfg *c = cfg;
	unsigned nr = 2 + (c->poll_s > 0) + c->hinting + c->reporting;

	b->poll.fn = poll_stats;
	b->poll_s = c->poll_s;
	b->last_cmd = HINT_DONE;
	b->v.offered = F_MUST_TELL_HOST | (c->deflate_on_oom ? F_DEFLATE_ON_OOM : 0) |
		       (c->poll_s ? F_STATS_VQ : 0) | (c->hinting ? F_FREE_PAGE_HINT : 0) |
		       (c->reporting ? F_REPORTING : 0);
	config(b)->num_pages = le32_of(c->pages);
	b->v.config_len = sizeof(struct balloon_config);
	virtio_set_queues(&b->v, nr, QUEUE_SIZE);
	return 0;
}

static int balloon_loaded(struct dev *d, struct err *e)
{
	struct virtio_balloon *b = container_of(d, struct virtio_balloon, v.dev);

	TRY(virtio_loaded(d, e));
	if (b->has_stats_buf && !virtio_has(&b->v, F_STATS_VQ))
		return err_set(e, EINVAL, "%s: saved state has statistics without their queue", d->id);
	arm(b);
	return 0;
}

/* -- for the board ----------------------------------------------------------------------- */

static struct virtio_balloon *behind(struct dev *d)
{
	return container_of(virtio_behind(d), struct virtio_balloon, v.dev);
}

void virtio_balloon_resize(struct dev *d, u32 pages)
{
	struct virtio_balloon *b = behind(d);

	config(b)->num_pages = le32_of(pages);
	virtio_config_changed(&b->v);
}

void virtio_balloon_poll(struct dev *d, u32 seconds)
{
	behind(d)->poll_s = seconds;
	arm(behind(d));
}

int virtio_balloon_hint(struct dev *d, bool start, bool ack_on_stop)
{
	struct virtio_balloon *b = behind(d);

	if (!virtio_running(&b->v) || !virtio_has(&b->v, F_FREE_PAGE_HINT))
		return -ENODEV;
	if (start) {
		b->last_cmd = b->last_cmd == UINT32_MAX ? HINT_FIRST : b->last_cmd + 1;
		b->ack_on_stop = ack_on_stop;
	}
	set_host_cmd(b, start ? b->last_cmd : HINT_DONE);
	return 0;
}

void virtio_balloon_get(struct dev *d, struct virtio_balloon_info *ret)
{
	struct virtio_balloon *b = behind(d);

	*ret = (struct virtio_balloon_info){
		.target = le32_get(config(b)->num_pages),
		.actual = le32_get(config(b)->actual),
		.host_cmd = b->host_cmd,
		.guest_cmd = b->guest_cmd,
		.guest_has_cmd = b->guest_has_cmd,
		.running = virtio_running(&b->v),
		.stats_known = b->stats_known,
	};
	memcpy(ret->stats, b->stats, sizeof ret->stats);
}

static const struct field balloon_state[] = {
	VIRTIO_FIELDS(struct virtio_balloon, v),
	FIELD_NOT_SAVED(struct virtio_balloon, poll),
	FIELD(struct virtio_balloon, poll_s),
	FIELD(struct virtio_balloon, has_stats_buf),
	FIELD(struct virtio_balloon, stats_buf.id),
	FIELD(struct virtio_balloon, stats_buf.nr),
	FIELD(struct virtio_balloon, stats_known),
	FIELD_ARRAY(struct virtio_balloon, stats),
	FIELD(struct virtio_balloon, host_cmd),
	FIELD(struct virtio_balloon, guest_cmd),
	FIELD(struct virtio_balloon, last_cmd),
	FIELD(struct virtio_balloon, guest_has_cmd),
	FIELD(struct virtio_balloon, ack_on_stop),
	FIELD_END,
};

const struct virtio_class virtio_balloon_class = {
	.dev = {
		.name = "virtio-balloon",
		.spec = "Virtual I/O Device 1.2, 5.5",
		.size = sizeof(struct virtio_balloon),
		.state = balloon_state,
		.init = balloon_init,
		.fini = balloon_fini,
		.reset = balloon_reset,
		.loaded = balloon_loaded,
	},
	.id = 5,
	.pci_class = 0x00ff00,
	.notify = balloon_notify,
	.config_write = balloon_config_write,
	.driver_ok = balloon_driver_ok,
};
