// SPDX-License-Identifier: Apache-2.0
/* vhost_user.c - the front-end's side of vhost-user: messages and shadow rings; see vhost_user.h */
#include "net/vhost_user.h"

#include "base/bits.h"
#include "os/os.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

enum { /* [vhost-user "Front-end message types"] */
	GET_FEATURES = 1, SET_FEATURES = 2, SET_OWNER = 3, SET_MEM_TABLE = 5, SET_VRING_NUM = 8,
	SET_VRING_ADDR = 9, SET_VRING_BASE = 10, GET_VRING_BASE = 11, SET_VRING_KICK = 12,
	SET_VRING_CALL = 13, GET_PROTOCOL_FEATURES = 15, SET_PROTOCOL_FEATURES = 16,
	GET_QUEUE_NUM = 17, SET_VRING_ENABLE = 18, GET_CONFIG = 24,
};

#define F_PROTOCOL (1ull << 30)
#define P_MQ	   (1ull << 0)
#define P_CONFIG   (1ull << 9)

#define FLAG_VERSION 1u
#define FLAG_REPLY   4u

/* A shadow ring: a split ring of RING entries [virtio 2.7]. */
#define RING	   VHOST_RING
#define AVAIL_AT   (RING * 16)
#define USED_AT	   (RING * 20)
#define RING_BYTES (RING * 32)
#define RINGS_GPA  (1ull << 52) /* where the back end sees them: no guest address */

enum { DESC_NEXT = 1, DESC_WRITE = 2 };

struct desc {
	le64 addr;
	le32 len;
	le16 flags, next;
};

struct used_elem {
	le32 id, len;
};

struct PACKED msg {
	u32 request, flags, size;
	union {
		u64 u64;
		struct {
			u32 index, num;
		} state;
		struct {
			u32 index, flags;
			u64 desc, used, avail, log;
		} addr;
		struct {
			u32 nr, pad;
			struct {
				u64 gpa, size, user, offset;
			} region[VHOST_RAM_MAX + 1];
		} mem;
		struct {
			u32 offset, size, flags;
			u8 data[VHOST_CONFIG_MAX];
		} config;
	};
};

#define HEADER 12u

/* What of a ring the back end cannot change under us. */
struct ring {
	struct vhost_user *u;
	u8 *mem;
	int kick, call;
	struct watch w;
	u16 avail, used; /* next entries */
	unsigned nr_free;
	u16 free; /* head of the list through next[] */
	bool starved;
	u16 next[RING];
	bool in_flight[RING]; /* heads */
	u32 token[RING];
	struct vhost_seg seg[RING];
};

struct vhost_user {
	struct loop *loop;
	struct watch w;
	const struct vhost_user_ops *ops;
	void *ctx;
	u64 features, protocol;
	unsigned nr_queues; /* of the back end; 0 = unknown */
	unsigned nr_running;
	bool dead;
	struct vhost_ram ram[VHOST_RAM_MAX];
	unsigned nr_ram;
	int rings_fd;
	u8 *rings;
	struct ring ring[VHOST_QUEUES_MAX];
};

/* -- messages ----------------------------------------------------------------------------- */

static void lost(struct vhost_user *u)
{
	if (u->dead)
		return;
	u->dead = true;
	loop_unwatch(u->loop, &u->w);
	if (u->ops)
		u->ops->gone(u->ctx);
}

static void post_fds(struct vhost_user *u, struct msg *m, u32 size, const int *fds, unsigned nr)
{
	if (u->dead)
		return;
	m->flags = FLAG_VERSION;
	m->size = size;
	if (fd_send(u->w.fd, m, HEADER + size, fds, nr))
		lost(u);
}

static void post(struct vhost_user *u, u32 request, struct msg *m, u32 size)
{
	m->request = request;
	post_fds(u, m, size, NULL, 0);
}

static bool read_all(int fd, void *buf, size_t len)
{
	u8 *p = buf;

	while (len) {
		ssize_t n = recv(fd, p, len, 0); /* waits as long as the socket's timeout says */

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		p += n;
		len -= (size_t)n;
	}
	return true;
}

/* Send, and take the answer of up to @max bytes into *m. Return: its bytes, or -errno. */
static int ask(struct vhost_user *u, u32 request, struct msg *m, u32 size, u32 max)
{
	post(u, request, m, size);
	if (u->dead)
		return -EPIPE;
	if (!read_all(u->w.fd, m, HEADER) || m->request != request || !(m->flags & FLAG_REPLY) ||
	    m->size > max || !read_all(u->w.fd, (u8 *)m + HEADER, m->size)) {
		lost(u);
		return -EPROTO;
	}
	return (int)m->size;
}

static int ask_u64(struct vhost_user *u, u32 request, u64 *ret)
{
	struct msg m = { 0 };
	int n = ask(u, request, &m, 0, sizeof m.u64);

	if (n >= 0 && n != sizeof m.u64)
		n = -EPROTO;
	if (n < 0)
		return n;
	*ret = m.u64;
	return 0;
}

static void post_u64(struct vhost_user *u, u32 request, u64 v)
{
	struct msg m = { .u64 = v };

	post(u, request, &m, sizeof m.u64);
}

static void post_state(struct vhost_user *u, u32 request, u32 index, u32 num)
{
	struct msg m = { .state = { index, num } };

	post(u, request, &m, sizeof m.state);
}

static void post_fd(struct vhost_user *u, u32 request, u32 index, int fd)
{
	struct msg m = { .request = request, .u64 = index };

	post_fds(u, &m, sizeof m.u64, &fd, 1);
}

/*
 * Nothing comes but answers, and those are waited for: on another thread perhaps, which has
 * taken what this event was about.
 */
static void on_socket(struct watch *w, u32 events UNUSED)
{
	char c;
	ssize_t n = recv(w->fd, &c, 1, MSG_PEEK | MSG_DONTWAIT);

	if (n >= 0 || (errno != EAGAIN && errno != EINTR))
		lost(container_of(w, struct vhost_user, w));
}

/* -- rings -------------------------------------------------------------------------------- */

static struct desc *desc_of(const struct ring *r)
{
	return (struct desc *)(void *)r->mem;
}

static le16 *avail_of(const struct ring *r) /* flags, idx, ring[] */
{
	return (le16 *)(void *)(r->mem + AVAIL_AT);
}

static le16 *used_of(const struct ring *r) /* flags, idx; then the elements */
{
	return (le16 *)(void *)(r->mem + USED_AT);
}

static void ring_reset(struct ring *r)
{
	memset(r->mem, 0, RING_BYTES);
	r->avail = r->used = 0;
	r->nr_free = RING;
	r->free = 0;
	r->starved = false;
	for (unsigned i = 0; i < RING; i++) {
		r->next[i] = (u16)(i + 1);
		r->in_flight[i] = false;
	}
}

bool vhost_user_submit(struct vhost_user *u, unsigned q, const struct vhost_seg *seg, unsigned nr,
		       u32 token)
{
	struct ring *r = &u->ring[q];
	struct desc *d = desc_of(r);
	u16 head = r->free, i = head;

	if (u->dead || q >= u->nr_running || !nr || nr > RING)
		return true; /* it never comes back */
	if (nr > r->nr_free) {
		r->starved = true;
		return false;
	}
	for (unsigned k = 0; k < nr; k++) {
		bool last = k + 1 == nr;
		u32 flags = (seg[k].in ? DESC_WRITE : 0) | (last ? 0 : DESC_NEXT);

		d[i] = (struct desc){ le64_of(seg[k].gpa), le32_of(seg[k].len),
				      le16_of((u16)flags), le16_of(last ? 0 : r->next[i]) };
		r->seg[i] = seg[k];
		if (!last)
			i = r->next[i];
	}
	r->free = r->next[i];
	r->next[i] = RING; /* the end of this chain */
	r->nr_free -= nr;
	r->in_flight[head] = true;
	r->token[head] = token;
	avail_of(r)[2 + r->avail++ % RING] = le16_of(head);
	return true;
}

void vhost_user_kick(struct vhost_user *u, unsigned q)
{
	struct ring *r = &u->ring[q];
	u64 one = 1;

	if (u->dead || q >= u->nr_running)
		return;
	__atomic_store_n(&avail_of(r)[1].raw, le16_of(r->avail).raw, __ATOMIC_RELEASE);
	__atomic_thread_fence(__ATOMIC_SEQ_CST); /* the back end may be going to sleep */
	if (!(le16_get((le16){ __atomic_load_n(&used_of(r)[0].raw, __ATOMIC_RELAXED) }) & 1))
		(void)!write(r->kick, &one, sizeof one);
}

/* Report what was written and put the chain's entries on the free list. Return: bytes. */
static u32 take_back(struct ring *r, u16 head, u32 written)
{
	u32 total = 0;
	u16 i = head;

	for (;;) {
		const struct vhost_seg *s = &r->seg[i];
		u32 n = s->in && total < written ? written - total : 0;

		n = n < s->len ? n : s->len;
		if (n)
			r->u->ops->wrote(r->u->ctx, s->gpa, n);
		total += n;
		r->nr_free++;
		if (r->next[i] == RING)
			break;
		i = r->next[i];
	}
	r->next[i] = r->free;
	r->free = head;
	r->in_flight[head] = false;
	return total;
}

static void collect(struct ring *r)
{
	struct vhost_user *u = r->u;
	const struct used_elem *e = (const void *)(r->mem + USED_AT + 4);
	unsigned q = (unsigned)(r - u->ring);
	u16 end = le16_get((le16){ __atomic_load_n(&used_of(r)[1].raw, __ATOMIC_ACQUIRE) });

	if ((u16)(end - r->used) > RING) {
		lost(u);
		return;
	}
	while (r->used != end) {
		struct used_elem got = e[r->used++ % RING];
		u32 id = le32_get(got.id);

		if (id >= RING || !r->in_flight[id]) {
			lost(u);
			return;
		}
		u->ops->done(u->ctx, q, r->token[id], take_back(r, (u16)id, le32_get(got.len)));
	}
	if (r->starved && r->nr_free) {
		r->starved = false;
		u->ops->room(u->ctx, q);
	}
}

static void on_call(struct watch *w, u32 events UNUSED)
{
	struct ring *r = container_of(w, struct ring, w);
	u64 n;

	if (read(w->fd, &n, sizeof n) == sizeof n && !r->u->dead && r->u->nr_running)
		collect(r);
}

/* -- running ------------------------------------------------------------------------------ */

static void post_memory(struct vhost_user *u)
{
	struct msg m = { .request = SET_MEM_TABLE, .mem.nr = u->nr_ram + 1 };
	int fds[VHOST_RAM_MAX + 1];

	for (unsigned i = 0; i < u->nr_ram; i++) {
		m.mem.region[i].gpa = u->ram[i].gpa;
		m.mem.region[i].size = u->ram[i].len;
		m.mem.region[i].user = (u64)u->ram[i].host;
		m.mem.region[i].offset = u->ram[i].offset;
		fds[i] = u->ram[i].fd;
	}
	m.mem.region[u->nr_ram].gpa = RINGS_GPA;
	m.mem.region[u->nr_ram].size = RING_BYTES * VHOST_QUEUES_MAX;
	m.mem.region[u->nr_ram].user = (u64)u->rings;
	fds[u->nr_ram] = u->rings_fd;
	post_fds(u, &m, (u32)(8 + 32 * (u->nr_ram + 1)), fds, u->nr_ram + 1);
}

static void start_ring(struct vhost_user *u, u32 q)
{
	struct ring *r = &u->ring[q];
	struct msg m = { .addr = { .index = q, .desc = (u64)r->mem,
				   .avail = (u64)r->mem + AVAIL_AT, .used = (u64)r->mem + USED_AT } };

	ring_reset(r);
	post_state(u, SET_VRING_NUM, q, RING);
	post_state(u, SET_VRING_BASE, q, 0);
	post(u, SET_VRING_ADDR, &m, sizeof m.addr);
	post_fd(u, SET_VRING_CALL, q, r->call);
	post_fd(u, SET_VRING_KICK, q, r->kick);
	post_state(u, SET_VRING_ENABLE, q, 1);
}

void vhost_user_start(struct vhost_user *u, u64 features, unsigned nr_queues)
{
	u->nr_running = nr_queues < VHOST_QUEUES_MAX ? nr_queues : VHOST_QUEUES_MAX;
	post_u64(u, SET_FEATURES, (features & u->features) | F_PROTOCOL);
	post_memory(u);
	for (u32 q = 0; q < u->nr_running; q++)
		start_ring(u, q);
}

void vhost_user_stop(struct vhost_user *u)
{
	struct msg m;

	for (u32 q = 0; q < u->nr_running && !u->dead; q++) {
		post_state(u, SET_VRING_ENABLE, q, 0);
		m = (struct msg){ .state.index = q };
		if (ask(u, GET_VRING_BASE, &m, sizeof m.state, sizeof m.state) >= 0)
			collect(&u->ring[q]);
	}
	u->nr_running = 0;
}

/* -- making ------------------------------------------------------------------------------- */

static int make_rings(struct vhost_user *u, struct err *e)
{
	size_t size = (size_t)RING_BYTES * VHOST_QUEUES_MAX;
	void *p;

	u->rings_fd = fd_memfd("vhost-rings", size);
	p = u->rings_fd < 0 ? MAP_FAILED :
			      mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, u->rings_fd, 0);
	if (p == MAP_FAILED)
		return err_set(e, ENOMEM, "vhost-user: out of memory");
	u->rings = p;
	for (unsigned q = 0; q < VHOST_QUEUES_MAX; q++) {
		struct ring *r = &u->ring[q];

		r->u = u;
		r->mem = u->rings + q * RING_BYTES;
		r->kick = fd_eventfd();
		r->call = fd_eventfd();
		r->w = (struct watch){ .fd = r->call, .fn = on_call };
		if (r->kick < 0 || r->call < 0)
			return err_set(e, EMFILE, "vhost-user: too many open files");
		TRY(loop_watch(u->loop, &r->w, EPOLLIN, e));
	}
	return 0;
}

static int negotiate(struct vhost_user *u, struct err *e)
{
	const struct timeval wait = { .tv_sec = VHOST_WAIT_MS / 1000 };
	struct msg m = { 0 };
	u64 nr = 0;

	if (setsockopt(u->w.fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait) ||
	    setsockopt(u->w.fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait) ||
	    fd_nonblock(u->w.fd, false))
		return err_set(e, errno, "vhost-user: want a socket");
	if (ask_u64(u, GET_FEATURES, &u->features))
		return err_set(e, EPROTO, "vhost-user: the back end does not answer");
	if (!(u->features & F_PROTOCOL))
		return err_set(e, ENOTSUP, "vhost-user: the back end is too old: it negotiates no "
			       "protocol features");
	if (ask_u64(u, GET_PROTOCOL_FEATURES, &u->protocol))
		return err_set(e, EPROTO, "vhost-user: the back end does not answer");
	u->protocol &= P_MQ | P_CONFIG;
	post_u64(u, SET_PROTOCOL_FEATURES, u->protocol);
	post(u, SET_OWNER, &m, 0);
	if (u->protocol & P_MQ && ask_u64(u, GET_QUEUE_NUM, &nr))
		return err_set(e, EPROTO, "vhost-user: the back end does not answer");
	u->nr_queues = nr < VHOST_QUEUES_MAX ? (unsigned)nr : VHOST_QUEUES_MAX;
	return loop_watch(u->loop, &u->w, EPOLLIN | EPOLLRDHUP, e);
}

struct vhost_user *vhost_user_new(struct loop *l, int fd, const struct vhost_ram *ram,
				  unsigned nr_ram, struct err *e)
{
	struct vhost_user *u = calloc(1, sizeof *u);

	if (!u || nr_ram > VHOST_RAM_MAX) {
		close(fd);
		free(u);
		err_set(e, ENOMEM, "vhost-user: out of memory");
		return NULL;
	}
	u->loop = l;
	u->rings_fd = -1;
	u->w = (struct watch){ .fd = fd, .fn = on_socket };
	u->nr_ram = nr_ram;
	memcpy(u->ram, ram, nr_ram * sizeof *ram);
	for (unsigned q = 0; q < VHOST_QUEUES_MAX; q++)
		u->ring[q].kick = u->ring[q].call = -1;
	if (make_rings(u, e) || negotiate(u, e)) {
		vhost_user_free(u);
		return NULL;
	}
	return u;
}

void vhost_user_free(struct vhost_user *u)
{
	if (!u)
		return;
	for (unsigned q = 0; q < VHOST_QUEUES_MAX; q++) {
		loop_unwatch(u->loop, &u->ring[q].w);
		fd_close(&u->ring[q].kick);
		fd_close(&u->ring[q].call);
	}
	loop_unwatch(u->loop, &u->w);
	fd_close(&u->w.fd);
	if (u->rings)
		munmap(u->rings, (size_t)RING_BYTES * VHOST_QUEUES_MAX);
	fd_close(&u->rings_fd);
	free(u);
}

void vhost_user_attach(struct vhost_user *u, const struct vhost_user_ops *ops, void *ctx)
{
	u->ops = ops;
	u->ctx = ctx;
}

u64 vhost_user_features(const struct vhost_user *u)
{
	return u->features;
}

unsigned vhost_user_queues(const struct vhost_user *u)
{
	return u->nr_queues;
}

int vhost_user_config(struct vhost_user *u, void *buf, size_t len)
{
	struct msg m = { .config.size = (u32)len };
	int n;

	if (!(u->protocol & P_CONFIG) || len > VHOST_CONFIG_MAX)
		return -ENOTSUP;
	n = ask(u, GET_CONFIG, &m, (u32)(12 + len), (u32)(12 + len));
	if (n < 0)
		return n;
	if (n != (int)(12 + len))
		return -EPROTO;
	memcpy(buf, m.config.data, len);
	return 0;
}
