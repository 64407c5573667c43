// SPDX-License-Identifier: Apache-2.0
/* vhost_user_test.c - against a back end on a thread, honest and not */
#include "net/vhost_user.h"

#include "base/test.h"
#include "os/os.h"

#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define RINGS_SIZE 0x40000 /* enough of the shadow rings for queue 0 */
#define AVAIL	   0x4000
#define USED	   0x5000

struct backend {
	int sock, kick, call;
	int ready; /* an eventfd: the first queue is enabled */
	struct thread thread;
	u8 *rings;
	u64 features_set;
	bool mute; /* says nothing to what it is asked */
	u32 seen[64];
};

static void answer(struct backend *b, u32 *msg, const void *data, u32 len)
{
	u8 buf[300];

	memcpy(buf, msg, 12);
	memcpy(buf + 4, &(u32){ 5 }, 4);
	memcpy(buf + 8, &len, 4);
	memcpy(buf + 12, data, len);
	if (!b->mute && send(b->sock, buf, 12 + len, MSG_NOSIGNAL) < 0)
		return;
}

static void handle(struct backend *b, u32 *msg, u8 *data, int *fds, unsigned nr)
{
	u64 v = 0;

	__atomic_fetch_add(&b->seen[msg[0] % 64], 1, __ATOMIC_RELAXED);
	memcpy(&v, data, sizeof v);
	if (msg[0] == 1)
		answer(b, msg, &(u64){ 1ull << 30 | 1ull << 32 | 6 }, 8);
	else if (msg[0] == 15)
		answer(b, msg, &(u64){ 0x3ff }, 8);
	else if (msg[0] == 17)
		answer(b, msg, &(u64){ 3 }, 8);
	else if (msg[0] == 11)
		answer(b, msg, data, 8);
	else if (msg[0] == 24)
		answer(b, msg, data, msg[2]);
	else if (msg[0] == 2)
		b->features_set = v;
	else if (msg[0] == 18 && data[4])
		(void)!write(b->ready, &(u64){ 1 }, 8);
	else if (msg[0] == 5 && nr)
		b->rings = mmap(NULL, RINGS_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fds[nr - 1], 0);
	for (unsigned i = 0; i < nr; i++) {
		if (msg[0] == 12 && !v)
			b->kick = dup(fds[i]);
		if (msg[0] == 13 && !v)
			b->call = dup(fds[i]);
		close(fds[i]);
	}
}

static void *serve(void *arg)
{
	struct backend *b = arg;
	u32 msg[3];
	u8 data[512];
	int fds[FD_PASS_MAX];

	for (;;) {
		unsigned nr = FD_PASS_MAX;

		if (fd_recv(b->sock, msg, sizeof msg, fds, &nr) != sizeof msg || msg[2] > sizeof data ||
		    (msg[2] && fd_read_full(b->sock, data, msg[2])))
			return NULL;
		handle(b, msg, data, fds, nr);
	}
}

struct rig {
	struct backend b;
	struct loop *l;
	struct vhost_user *u;
	u8 ram[4096];
	unsigned done, gone, room;
	u32 token, written;
	gpa_t wrote;
	u64 wrote_len;
	struct err e;
};

static void on_wrote(void *ctx, gpa_t gpa, u64 len)
{
	struct rig *r = ctx;

	r->wrote = gpa;
	r->wrote_len += len;
}

static void on_done(void *ctx, unsigned q UNUSED, u32 token, u32 written)
{
	struct rig *r = ctx;

	r->done++;
	r->token = token;
	r->written = written;
}

static void on_room(void *ctx, unsigned q UNUSED)
{
	((struct rig *)ctx)->room++;
}

static void on_gone(void *ctx)
{
	((struct rig *)ctx)->gone++;
}

static const struct vhost_user_ops ops = { on_wrote, on_done, on_room, on_gone };

static bool wait_ready(struct backend *b)
{
	struct pollfd p = { .fd = b->ready, .events = POLLIN };
	u64 n;

	return poll(&p, 1, 10000) == 1 && read(b->ready, &n, sizeof n) == sizeof n;
}

static bool rig_up(struct rig *r)
{
	struct vhost_ram ram = { .gpa = 0, .len = 4096, .fd = fd_memfd("ram", 4096), .host = r->ram };
	int s[2];

	*r = (struct rig){ .b = { .kick = -1, .call = -1, .ready = fd_eventfd() } };
	r->l = loop_new(&r->e);
	if (!r->l || fd_pair(SOCK_STREAM, s))
		return false;
	r->b.sock = s[1];
	if (thread_start(&r->b.thread, "backend", JAIL_NONE, serve, &r->b, &r->e))
		return false;
	r->u = vhost_user_new(r->l, s[0], &ram, 1, &r->e);
	if (!r->u)
		return false;
	vhost_user_attach(r->u, &ops, r);
	vhost_user_start(r->u, 2 | 64, 1);
	close(ram.fd);
	return wait_ready(&r->b) && r->b.rings && r->b.kick >= 0 && r->b.call >= 0;
}

static void rig_down(struct rig *r)
{
	vhost_user_free(r->u);
	thread_join(&r->b.thread);
	if (r->b.rings)
		munmap(r->b.rings, RINGS_SIZE);
	close(r->b.sock);
	fd_close(&r->b.kick);
	fd_close(&r->b.call);
	fd_close(&r->b.ready);
	loop_free(r->l);
}

/* What a back end does with the buffer that begins at descriptor @id. */
static void use(struct rig *r, u32 id, u32 len, u16 idx)
{
	u64 one = 1;

	memcpy(r->b.rings + USED + 4, &(u32[2]){ id, len }, 8);
	memcpy(r->b.rings + USED + 2, &idx, 2);
	if (write(r->b.call, &one, sizeof one) < 0)
		return;
	loop_once(r->l, 100);
}

static const struct vhost_seg seg[3] = { { 0x100, 16, false }, { 0x200, 32, true }, { 0x300, 64, true } };

TEST(vhost_user_buffers_go_out_and_come_back)
{
	u16 idx, head, flags;
	struct rig r;
	u64 addr;

	CHECK(rig_up(&r));
	CHECK_EQ(r.b.features_set, 2 | 1 << 30); /* not what the back end cannot do */
	CHECK_EQ(vhost_user_queues(r.u), 3);
	CHECK(vhost_user_submit(r.u, 0, seg, 3, 0xabcd));
	vhost_user_kick(r.u, 0);
	memcpy(&idx, r.b.rings + AVAIL + 2, 2);
	memcpy(&head, r.b.rings + AVAIL + 4, 2);
	memcpy(&addr, r.b.rings + head * 16, 8);
	memcpy(&flags, r.b.rings + head * 16 + 12, 2);
	CHECK(idx == 1 && addr == 0x100 && flags == 1);
	CHECK_EQ(fd_nonblock(r.b.kick, true), 0);
	CHECK_EQ(read(r.b.kick, &addr, 8), 8);
	use(&r, head, 40, 1);
	CHECK(r.done == 1 && r.token == 0xabcd && r.written == 40);
	CHECK(r.wrote == 0x300 && r.wrote_len == 40); /* 32 of the first, 8 of the second */
	use(&r, head, 40, 2); /* it is not the back end's any more */
	CHECK(r.gone == 1 && r.done == 1);
	CHECK(vhost_user_submit(r.u, 0, seg, 3, 1)); /* into the void */
	rig_down(&r);
}

TEST(vhost_user_claims_of_a_hostile_back_end_are_checked)
{
	static const struct { u32 id, len; u16 idx; } bad[] = {
		{ 1024, 0, 1 }, { ~0u, 0, 1 }, { 1, 0, 1 }, { 0, 0, 2000 }, { 0, 0, 0x8000 },
	};
	struct rig r;

	for (unsigned i = 0; i < array_len(bad); i++) {
		CHECK(rig_up(&r));
		CHECK(vhost_user_submit(r.u, 0, seg, 3, 7));
		vhost_user_kick(r.u, 0);
		memset(r.b.rings, 0xff, 64); /* descriptors are only its own concern */
		use(&r, bad[i].id, bad[i].len, bad[i].idx);
		CHECK(r.gone == 1 && !r.done);
		rig_down(&r);
	}
	CHECK(rig_up(&r)); /* more written than there was room for */
	CHECK(vhost_user_submit(r.u, 0, seg, 3, 7));
	vhost_user_kick(r.u, 0);
	use(&r, 0, ~0u, 1);
	CHECK(r.done == 1 && r.written == 96 && r.wrote_len == 96 && !r.gone);
	rig_down(&r);
}

TEST(vhost_user_full_ring_waits)
{
	struct rig r;
	unsigned n = 0;

	CHECK(rig_up(&r));
	while (n < 2000 && vhost_user_submit(r.u, 0, seg, 3, n))
		n++;
	CHECK_EQ(n, 341); /* of 1024 entries */
	vhost_user_kick(r.u, 0);
	use(&r, 0, 0, 1);
	CHECK(r.done == 1 && r.room == 1);
	CHECK(vhost_user_submit(r.u, 0, seg, 3, n));
	vhost_user_stop(r.u);
	CHECK_EQ(__atomic_load_n(&r.b.seen[11], __ATOMIC_RELAXED), 1);
	CHECK(!r.gone);
	rig_down(&r);
}

TEST(vhost_user_end_of_the_back_end_is_noticed)
{
	struct rig r;

	CHECK(rig_up(&r));
	shutdown(r.b.sock, SHUT_RDWR);
	loop_once(r.l, 1000);
	CHECK_EQ(r.gone, 1);
	vhost_user_stop(r.u); /* nobody to wait for */
	rig_down(&r);
}
