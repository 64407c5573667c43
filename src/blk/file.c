// SPDX-License-Identifier: Apache-2.0
/*
 * file.c - the bottom node: a raw file or block device on the host
 *
 * At most AIO_DEPTH requests are in flight, each in a slot; more wait in a queue
 * linked through the requests themselves, so serving a request never allocates,
 * except to continue after a short transfer.
 *
 * A read that the page cache can answer is answered inside submit() (preadv2 with
 * RWF_NOWAIT): no completion event, no wake-up of the loop. A write of whole pages goes
 * into the page cache inside submit() as well, unless the last one that did took long.
 *
 * With FILE_DIRECT the page cache is left out (file_direct.c).
 */
#include "base/bits.h"
#include "blk/file_int.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#define AT_ONCE_MAX (256u << 10) /* larger reads are copied off this thread */
#define PAGE	    4096u
#define SLOW_NS	    1000000u /* a write to the page cache that took longer was held up, */
#define SLOW_PAUSE  30u	     /* and for so many times as long others go another way */
#define ZERO_CHUNK  (256u << 10)
#define MAX_RETRIES 16

static ALIGNED(4096) u8 zeros[ZERO_CHUNK]; /* never written */

/* -- one request ------------------------------------------------------------- */

static void start_waiting(struct file *f);

static void finish(struct slot *s, int error)
{
	struct file *f = s->f;
	struct blk_req *r = s->r;

	free(s->rest);
	s->rest = NULL;
	direct_end(s);
	s->r = NULL;
	s->next_free = f->free;
	f->free = s;
	start_waiting(f);
	blk_complete(&f->b, r, error);
}

/* Point the slot at what is left of the request's buffers. Return: 0 or errno. */
static int set_buffers(struct slot *s)
{
	struct blk_req *r = s->r;
	int max = r->nr_iov < IOV_MAX ? r->nr_iov : IOV_MAX;

	if (!s->done && r->nr_iov <= IOV_MAX) {
		s->aio.iov = r->iov;
		s->aio.nr_iov = r->nr_iov;
		return 0;
	}
	if (!s->rest)
		s->rest = malloc((size_t)max * sizeof *s->rest);
	if (!s->rest)
		return ENOMEM;
	s->aio.iov = s->rest;
	s->aio.nr_iov = blk_slice(r->iov, r->nr_iov, s->done, r->len - s->done, s->rest, max);
	return 0;
}

static void set_zero_chunk(struct slot *s)
{
	u64 left = s->r->len - s->done;

	s->aio.op = AIO_WRITE;
	s->one = (struct iovec){ zeros, left < ZERO_CHUNK ? left : ZERO_CHUNK };
	s->aio.iov = &s->one;
	s->aio.nr_iov = 1;
}

static void set_alloc(struct slot *s, int mode)
{
	s->aio.op = AIO_ALLOC;
	s->aio.mode = mode | (s->f->b.growable && !(mode & FALLOC_FL_PUNCH_HOLE) ?
				      0 :
				      FALLOC_FL_KEEP_SIZE);
	s->aio.len = s->r->len;
}

/* Give the next step of a request to the host. Return: 0, or errno if there is none. */
static int start(struct slot *s)
{
	struct file *f = s->f;
	int err = 0;

	s->aio.off = s->r->offset + s->done;
	switch (s->r->op) {
	case BLK_READ:
	case BLK_WRITE:
		s->aio.op = s->r->op == BLK_READ ? AIO_READ : AIO_WRITE;
		err = direct_needs_bounce(s) ? direct_step(s) : set_buffers(s);
		break;
	case BLK_FLUSH:
		s->aio.op = AIO_SYNC;
		break;
	case BLK_DISCARD:
		set_alloc(s, FALLOC_FL_PUNCH_HOLE);
		break;
	case BLK_WRITE_ZEROES:
		s->by_writing |= f->no_zero_range && f->no_punch;
		if (s->by_writing && direct_needs_bounce(s))
			err = direct_step(s);
		else if (s->by_writing)
			set_zero_chunk(s);
		else
			set_alloc(s, f->no_zero_range ? FALLOC_FL_PUNCH_HOLE :
							FALLOC_FL_ZERO_RANGE);
		break;
	}
	if (!err)
		aio_submit(f->aio, &s->aio);
	return err;
}

/* fallocate() failed: what to do instead. Return: 0 = another step, -1 = done, or errno. */
static int after_alloc(struct slot *s, int err)
{
	struct file *f = s->f;

	if (!err)
		return -1;
	if (s->r->op == BLK_DISCARD) /* advice: not being able to follow it is no error */
		return err == EOPNOTSUPP || err == ENOSYS || err == EINVAL ? -1 : err;
	if (err != EOPNOTSUPP && err != ENOSYS && err != EINVAL)
		return err;
	if (s->aio.mode & FALLOC_FL_ZERO_RANGE)
		f->no_zero_range = true;
	else
		f->no_punch = s->by_writing = true;
	return 0;
}

/* The rest of a read lies behind the end of the file. */
static void fill_zeroes(struct slot *s)
{
	struct blk_req *r = s->r;
	u64 from = s->done;

	for (int i = 0; i < r->nr_iov; i++) {
		u64 n = r->iov[i].iov_len;

		if (from < n)
			memset((u8 *)r->iov[i].iov_base + from, 0, n - from);
		from = from < n ? 0 : from - n;
	}
}

/* Bytes were transferred, or not. Return as after_alloc(). */
static int after_transfer(struct slot *s, i64 res)
{
	if (res == -EINTR || res == -EAGAIN)
		return s->retries++ < MAX_RETRIES ? 0 : (int)-res;
	if (res < 0)
		return (int)-res;
	if (s->bounce)
		return direct_stepped(s, (u64)res);
	if (res == 0 && s->f->b.zero_tail && s->r->op == BLK_READ) {
		fill_zeroes(s);
		return -1;
	}
	if (res == 0)
		return EIO; /* the file was cut short under us */
	s->done += (u64)res;
	return s->done < s->r->len ? 0 : -1;
}

static void step_done(struct aio_req *a)
{
	struct slot *s = container_of(a, struct slot, aio);
	int r;

	if (a->op == AIO_SYNC)
		r = a->res < 0 ? (int)-a->res : -1;
	else if (a->op == AIO_ALLOC)
		r = after_alloc(s, a->res < 0 ? (int)-a->res : 0);
	else
		r = after_transfer(s, a->res);
	if (!r)
		r = start(s);
	if (r)
		finish(s, r < 0 ? 0 : r);
}

/* -- submission -------------------------------------------------------------- */

static void begin(struct file *f, struct blk_req *r)
{
	struct slot *s = f->free;
	int err;

	f->free = s->next_free;
	s->r = r;
	s->done = 0;
	s->retries = 0;
	s->by_writing = false;
	direct_begin(s);
	err = start(s);
	if (err)
		finish(s, err);
}

static void start_waiting(struct file *f)
{
	struct blk_req *r;

	while ((r = f->wait_head) && f->free && !direct_must_wait(f, r)) {
		f->wait_head = r->priv[0];
		if (!f->wait_head)
			f->wait_tail = &f->wait_head;
		begin(f, r);
	}
}

/* Return: answered from the page cache. */
static bool read_at_once(struct file *f, struct blk_req *r)
{
	ssize_t n;

	if (!f->at_once || r->op != BLK_READ || r->len > AT_ONCE_MAX || r->nr_iov > IOV_MAX)
		return false;
	n = preadv2(f->fd, r->iov, r->nr_iov, (off_t)r->offset, RWF_NOWAIT);
	if (n < 0 && errno == EOPNOTSUPP)
		f->at_once = false;
	return n == (ssize_t)r->len;
}

/*
 * Return: the write is in the page cache. Most file systems do not know RWF_NOWAIT for
 * writes, so this may wait, for room or for a page being written; then it was the last
 * one for a while.
 */
static bool write_at_once(struct file *f, struct blk_req *r)
{
	u64 t0, t1;
	ssize_t n;

	if (!f->write_at_once || r->op != BLK_WRITE || r->len > AT_ONCE_MAX ||
	    (r->offset | r->len) % PAGE || r->nr_iov > IOV_MAX)
		return false;
	t0 = os_now_ns();
	if (t0 < f->write_at_once_from)
		return false;
	n = pwritev(f->fd, r->iov, r->nr_iov, (off_t)r->offset);
	t1 = os_now_ns();
	if (t1 - t0 > SLOW_NS)
		f->write_at_once_from = t1 + (t1 - t0) * SLOW_PAUSE;
	return n == (ssize_t)r->len;
}

static void file_submit(struct blk *b, struct blk_req *r)
{
	struct file *f = (struct file *)b;

	if (read_at_once(f, r) || write_at_once(f, r)) {
		blk_complete(b, r, 0);
		return;
	}
	if (f->free && !f->wait_head && !direct_must_wait(f, r)) {
		begin(f, r);
	} else {
		r->priv[0] = NULL;
		*f->wait_tail = r;
		f->wait_tail = (struct blk_req **)&r->priv[0];
	}
	if (b->plugged)
		return;
	/* On the loop, what one round of callbacks submits goes out together. */
	if (loop_here(b->loop))
		loop_post(b->loop, &f->flush_task);
	else
		aio_flush(f->aio);
}

static void on_flush(struct task *t)
{
	aio_flush(container_of(t, struct file, flush_task)->aio);
}

static void file_plug(struct blk *b, bool on)
{
	if (!on)
		aio_flush(((struct file *)b)->aio);
}

static void file_wait(struct blk *b)
{
	aio_wait(((struct file *)b)->aio);
}

static void file_close(struct blk *b)
{
	struct file *f = (struct file *)b;

	if (f->aio)
		aio_free(f->aio);
	loop_cancel(b->loop, &f->flush_task);
	fd_close(&f->fd);
	free(f);
}

static int file_status(struct blk *b, u64 offset, u64 len, struct blk_extent *ret)
{
	struct file *f = (struct file *)b;
	int fd = f->fd;
	off_t data, end;

	*ret = (struct blk_extent){ .len = len, .state = BLK_DATA, .host_offset = offset };
	if (offset >= f->data_from && offset < f->data_end) { /* finding its end again is slow */
		ret->len = f->data_end - offset < len ? f->data_end - offset : len;
		return 0;
	}
	data = lseek(fd, (off_t)offset, SEEK_DATA);
	if (data < 0 && errno == ENXIO) { /* nothing but a hole up to the end */
		ret->state = BLK_ZERO;
	} else if (data > (off_t)offset) {
		ret->state = BLK_ZERO;
		ret->len = (u64)data - offset < len ? (u64)data - offset : len;
	} else if (data >= 0) {
		end = lseek(fd, (off_t)offset, SEEK_HOLE);
		if (end > (off_t)offset && (u64)end - offset < len)
			ret->len = (u64)end - offset;
		if (end > (off_t)offset && b->info.read_only) {
			f->data_from = offset;
			f->data_end = align_down((u64)end, BLK_SECTOR);
		}
	}
	if (ret->len % b->info.block_size) { /* a hole begins or ends inside a sector: data */
		if (ret->state == BLK_ZERO && ret->len > b->info.block_size) {
			ret->len = align_down(ret->len, b->info.block_size);
			return 0;
		}
		ret->state = BLK_DATA;
		ret->len = align_up(ret->len, b->info.block_size);
		ret->len = ret->len < len ? ret->len : len;
	}
	return 0;
}

static int file_resize(struct blk *b, u64 size, struct err *e)
{
	struct file *f = (struct file *)b;

	if (ftruncate(f->fd, (off_t)size))
		return err_set(e, errno, "image: cannot change the file's size: %s",
			       strerror(errno));
	b->info.size = size;
	f->end = size;
	return 0;
}

static const struct blk_driver file_driver = {
	.name = "file",
	.submit = file_submit,
	.plug = file_plug,
	.wait = file_wait,
	.status = file_status,
	.resize = file_resize,
	.close = file_close,
};

bool blk_is_file(const struct blk *b, int fd)
{
	struct stat x, y;

	while (b->base)
		b = b->base;
	return b->drv == &file_driver && !fstat(((const struct file *)b)->fd, &x) && !fstat(fd, &y) &&
	       x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

/* -- opening ------------------------------------------------------------------ */

static int get_size(struct file *f, struct err *e)
{
	struct stat st;
	u64 size;

	if (fstat(f->fd, &st))
		return err_set(e, errno, "image: %s", strerror(errno));
	if (S_ISBLK(st.st_mode)) {
		if (ioctl(f->fd, BLKGETSIZE64, &size))
			return err_set(e, errno, "image: cannot get the device's size: %s",
				       strerror(errno));
	} else if (S_ISREG(st.st_mode)) {
		size = (u64)st.st_size;
	} else {
		return err_set(e, EINVAL, "image: not a file or block device");
	}
	f->b.info.size = f->b.growable ? size : size - size % BLK_SECTOR;
	return 0;
}

static bool is_regular(int fd)
{
	struct stat st;

	return !fstat(fd, &st) && S_ISREG(st.st_mode);
}

/*
 * Behind these is another process or machine, which may not answer: io_uring would wait for it
 * inside the system call, with the board's lock held.
 */
static bool may_hang(int fd)
{
	static const u32 remote[] = { FUSE_SUPER_MAGIC, NFS_SUPER_MAGIC,  SMB_SUPER_MAGIC,
				      SMB2_SUPER_MAGIC, CIFS_SUPER_MAGIC, CEPH_SUPER_MAGIC,
				      V9FS_MAGIC,	AFS_SUPER_MAGIC };
	struct statfs s;

	if (fstatfs(fd, &s) < 0)
		return true;
	for (size_t i = 0; i < array_len(remote); i++)
		if ((u32)s.f_type == remote[i])
			return true;
	return false;
}

static int check_mode(struct file *f, struct err *e)
{
	int mode = fcntl(f->fd, F_GETFL);

	if (mode < 0)
		return err_set(e, errno, "image: %s", strerror(errno));
	mode &= O_ACCMODE;
	if (!f->b.info.read_only && mode != O_RDWR)
		return err_set(e, EROFS, "image: cannot be written, and 'readonly' was not given");
	if (mode == O_WRONLY)
		return err_set(e, EACCES, "image: cannot be read");
	return 0;
}

/* Two machines writing one file system destroy it. Advisory: file systems may lack locks. */
static int lock(struct file *f, struct err *e)
{
	struct flock fl = {
		.l_type = f->b.info.read_only ? F_RDLCK : F_WRLCK,
		.l_whence = SEEK_SET,
	};

	if (!fcntl(f->fd, F_OFD_SETLK, &fl) || (errno != EAGAIN && errno != EACCES))
		return 0;
	return err_set(e, EBUSY, "image: in use by another machine");
}

struct blk *blk_open_file_with(struct loop *l, int fd, bool read_only, unsigned flags,
			       struct err *e)
{
	struct file *f = calloc(1, sizeof *f);

	if (!f) {
		close(fd);
		err_set(e, ENOMEM, "image: out of memory");
		return NULL;
	}
	blk_init(&f->b, &file_driver, l, NULL);
	f->b.growable = f->b.zero_tail = flags & FILE_BYTES;
	f->b.info.block_size = f->b.growable ? 1 : BLK_SECTOR;
	f->b.info.read_only = read_only;
	f->b.info.discard = !read_only;
	f->fd = fd;
	if (may_hang(fd))
		flags |= FILE_THREADS | FILE_QUEUED;
	if (flags & FILE_DIRECT)
		flags |= FILE_QUEUED;
	f->at_once = !(flags & FILE_QUEUED);
	f->write_at_once = f->at_once && is_regular(fd);
	f->flush_task.fn = on_flush;
	f->wait_tail = &f->wait_head;
	for (unsigned i = 0; i < AIO_DEPTH; i++) {
		f->slot[i].f = f;
		f->slot[i].aio.fd = fd;
		f->slot[i].aio.done = step_done;
		f->slot[i].next_free = f->free;
		f->free = &f->slot[i];
	}
	if (!get_size(f, e) && !check_mode(f, e) && ((flags & FILE_SHARED) || !lock(f, e)) &&
	    (!(flags & FILE_DIRECT) || !direct_open(f, e)))
		f->aio = flags & FILE_THREADS ? aio_new_threads(l, e) : aio_new(l, e);
	if (!f->aio) {
		file_close(&f->b);
		return NULL;
	}
	return &f->b;
}

struct blk *blk_open_file(struct loop *l, int fd, bool read_only, struct err *e)
{
	return blk_open_file_with(l, fd, read_only, 0, e);
}
