// SPDX-License-Identifier: Apache-2.0
/* fd.c - descriptors: whole transfers, creation, passing (see os.h) */
#include "os/os.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

/* Account for one system call's result: 1 = go on, 0 = finished, negative errno. */
static int step(ssize_t n, u8 **p, size_t *len)
{
	if (n < 0)
		return errno == EINTR ? 1 : -errno;
	if (n == 0)
		return -ENODATA;
	*p += n;
	*len -= (size_t)n;
	return *len != 0;
}

int fd_read_full(int fd, void *buf, size_t len)
{
	u8 *p = buf;
	int r = len != 0;

	while (r > 0)
		r = step(read(fd, p, len), &p, &len);
	return r;
}

int fd_write_full(int fd, const void *buf, size_t len)
{
	u8 *p = (u8 *)buf;
	int r = len != 0;

	while (r > 0)
		r = step(write(fd, p, len), &p, &len);
	return r;
}

int fd_pread_full(int fd, void *buf, size_t len, u64 off)
{
	u8 *p = buf;
	int r = len != 0;

	while (r > 0)
		r = step(pread(fd, p, len, (off_t)(off + (u64)(p - (u8 *)buf))), &p, &len);
	return r;
}

int fd_pwrite_full(int fd, const void *buf, size_t len, u64 off)
{
	u8 *p = (u8 *)buf;
	int r = len != 0;

	while (r > 0)
		r = step(pwrite(fd, p, len, (off_t)(off + (u64)(p - (u8 *)buf))), &p, &len);
	return r;
}

/* Give a new descriptor its size; closes it on failure. */
static int sized(int fd, u64 size)
{
	int err;

	if (fd < 0)
		return -errno;
	if (size > INT64_MAX || ftruncate(fd, (off_t)size)) {
		err = size > INT64_MAX ? EFBIG : errno;
		close(fd);
		return -err;
	}
	return fd;
}

int fd_memfd(const char *name, u64 size)
{
	return sized(memfd_create(name, MFD_CLOEXEC), size);
}

int fd_tmpfile(u64 size)
{
	const char *dirs[] = { getenv("TMPDIR"), "/var/tmp", "/tmp" };
	int fd = -1, r;

	for (size_t i = 0; i < array_len(dirs) && fd < 0; i++)
		if (dirs[i] && *dirs[i])
			fd = open(dirs[i], O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (fd >= 0) {
		r = sized(fd, size);
		if (r >= 0)
			return r;
	}
	return fd_memfd("vireo-tmp", size);
}

int fd_eventfd(void)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	return fd < 0 ? -errno : fd;
}

int fd_signalfd(const int *sigs, size_t n)
{
	sigset_t set;
	int fd;

	sigemptyset(&set);
	for (size_t i = 0; i < n; i++)
		sigaddset(&set, sigs[i]);
	fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (fd < 0)
		return -errno;
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	return fd;
}

int fd_pair(int type, int ret[2])
{
	return socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, ret) ? -errno : 0;
}

int fd_pipe(int ret[2])
{
	return pipe2(ret, O_CLOEXEC) ? -errno : 0;
}

int fd_nonblock(int fd, bool on)
{
	int fl = fcntl(fd, F_GETFL);

	if (fl < 0 || fcntl(fd, F_SETFL, on ? fl | O_NONBLOCK : fl & ~O_NONBLOCK) < 0)
		return -errno;
	return 0;
}

void fd_close(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

union ctl {
	char buf[CMSG_SPACE(FD_PASS_MAX * sizeof(int))];
	struct cmsghdr align;
};

int fd_send(int sock, const void *buf, size_t len, const int *fds, unsigned nr)
{
	struct iovec iov = { .iov_base = (void *)buf, .iov_len = len };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
	union ctl ctl = { 0 };
	struct cmsghdr *c;
	ssize_t n;

	if (!len || nr > FD_PASS_MAX)
		return -EINVAL;
	if (nr) {
		m.msg_control = ctl.buf;
		m.msg_controllen = CMSG_SPACE(nr * sizeof(int));
		c = CMSG_FIRSTHDR(&m);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(nr * sizeof(int));
		memcpy(CMSG_DATA(c), fds, nr * sizeof(int));
	}
	do
		n = sendmsg(sock, &m, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	/* A stream socket may take part of it; the descriptors went with the first byte. */
	while ((size_t)n < len) {
		ssize_t k = send(sock, (const char *)buf + n, len - (size_t)n, MSG_NOSIGNAL);

		if (k < 0 && errno != EINTR)
			return -errno;
		n += k > 0 ? k : 0;
	}
	return 0;
}

/* Move the descriptors of one control message to @fds; close what does not fit. */
static void take_fds(struct cmsghdr *c, int *fds, unsigned room, unsigned *nr)
{
	size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

	for (size_t i = 0; i < n; i++) {
		int fd;

		memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof fd);
		if (*nr < room)
			fds[(*nr)++] = fd;
		else
			close(fd);
	}
}

ssize_t fd_recv(int sock, void *buf, size_t len, int *fds, unsigned *nr)
{
	struct iovec iov = { .iov_base = buf, .iov_len = len };
	union ctl ctl;
	struct msghdr m = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = ctl.buf,
		.msg_controllen = sizeof ctl.buf,
	};
	unsigned room = *nr;
	ssize_t n;

	*nr = 0;
	do
		n = recvmsg(sock, &m, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c))
		if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
			take_fds(c, fds, room, nr);
	return n;
}
