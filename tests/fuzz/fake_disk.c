// SPDX-License-Identifier: Apache-2.0
/* fake_disk.c - see fake_disk.h */
#include "fake_disk.h"

#include <errno.h>
#include <string.h>

#define BAD_OFFSET 0x2000

static struct {
	struct blk b;
	struct blk_req *held[8];
	unsigned nr;
	u8 data[FAKE_DISK_SIZE];
} disk;

static void finish(struct blk_req *r)
{
	bool data = r->op == BLK_READ || r->op == BLK_WRITE;
	u8 *at = disk.data + (data ? r->offset : 0);

	for (int i = 0; data && i < r->nr_iov; i++) {
		if (r->op == BLK_READ)
			memcpy(r->iov[i].iov_base, at, r->iov[i].iov_len);
		else
			memcpy(at, r->iov[i].iov_base, r->iov[i].iov_len);
		at += r->iov[i].iov_len;
	}
	blk_complete(&disk.b, r, r->offset == BAD_OFFSET ? EIO : 0);
}

static void disk_wait(struct blk *b UNUSED)
{
	finish(disk.held[--disk.nr]);
}

static void disk_submit(struct blk *b, struct blk_req *r)
{
	if (disk.nr == array_len(disk.held))
		disk_wait(b);
	if (r->offset & 1024)
		disk.held[disk.nr++] = r;
	else
		finish(r);
}

static const struct blk_driver driver = { .name = "fuzz",
					  .submit = disk_submit,
					  .wait = disk_wait };

struct blk *fake_disk(void)
{
	blk_init(&disk.b, &driver, NULL, NULL);
	disk.b.info =
		(struct blk_info){ .size = FAKE_DISK_SIZE, .block_size = 512, .discard = true };
	return &disk.b;
}

void fake_disk_finish(void)
{
	while (disk.nr)
		disk_wait(&disk.b);
}
