// SPDX-License-Identifier: Apache-2.0
/*
 * disk_kernel.c - read the kernel and initrd out of a disk image
 *
 * File systems are read by libext2fs (docs/decisions/0060), never mounted. Partition
 * tables follow [UEFI 5.2.1] (MBR) and [UEFI 5.3] (GPT).
 */
#include "boot/boot.h"
#include "boot/disk_io.h"

#include "base/bits.h"
#include "base/compiler.h"
#include "os/os.h"

#include <errno.h>
#include <et/com_err.h>
#include <ext2fs/ext2fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECTOR	   512
#define PARTS_MAX  128
#define LINK_MAX_LEN 1024 /* bytes of a symbolic link, and the end of the string */
#define NAME_LEN   96	       /* longest /boot/vmlinuz-VERSION taken */
#define KERNEL_MAX (256u << 20) /* bytes */
#define INITRD_MAX (2048ull << 20)

struct parts {
	u64 start[PARTS_MAX]; /* bytes */
	unsigned nr;
};

static void part_add(struct parts *p, u64 sector, u64 disk_size)
{
	u64 start;

	if (!__builtin_mul_overflow(sector, SECTOR, &start) && start < disk_size &&
	    p->nr < PARTS_MAX)
		p->start[p->nr++] = start;
}

static u64 get_le(const u8 *p, unsigned bytes)
{
	u64 v = 0;

	while (bytes--)
		v = v << 8 | p[bytes];
	return v;
}

/* [UEFI 5.3.2] header at sector 1, [UEFI 5.3.3] entries of at least 128 bytes */
static void read_gpt(const struct disk_reader *d, u64 disk_size, struct parts *p)
{
	u8 h[SECTOR], entry[128];
	u64 table, nr, size;

	if (d->read(d, SECTOR, h, sizeof(h)) || memcmp(h, "EFI PART", 8))
		return;
	table = get_le(h + 72, 8);
	nr = get_le(h + 80, 4);
	size = get_le(h + 84, 4);
	if (size < 128 || size > 4096 || table > disk_size / SECTOR)
		return;
	for (u64 i = 0; i < nr && i < PARTS_MAX; i++) {
		if (d->read(d, table * SECTOR + i * size, entry, sizeof(entry)))
			return;
		if (get_le(entry, 8) | get_le(entry + 8, 8)) /* type GUID: zero is unused */
			part_add(p, get_le(entry + 32, 8), disk_size);
	}
}

/* [UEFI 5.2.1]: four entries of 16 bytes at 446. Type 0xee says there is a GPT. */
static void read_partitions(const struct disk_reader *d, u64 disk_size, struct parts *p)
{
	u8 mbr[SECTOR];

	part_add(p, 0, disk_size); /* the whole disk may be a file system */
	if (d->read(d, 0, mbr, sizeof(mbr)) || mbr[510] != 0x55 || mbr[511] != 0xaa)
		return;
	for (unsigned i = 0; i < 4; i++) {
		const u8 *entry = mbr + 446 + 16 * i;

		if (entry[4] == 0xee)
			read_gpt(d, disk_size, p);
		else if (entry[4])
			part_add(p, get_le(entry + 8, 4), disk_size);
	}
}

/* -- file systems -- */

static ext2_filsys open_fs(const struct disk_reader *d, u64 start)
{
	char name[DISK_IO_NAME];
	ext2_filsys fs;
	u8 magic[2];

	/* Superblock at 1024, s_magic at 56: saves libext2fs the trouble. */
	if (d->read(d, start + 1024 + 56, magic, 2) || get_le(magic, 2) != EXT2_SUPER_MAGIC)
		return NULL;
	disk_io_name(d, start, name);
	if (ext2fs_open(name, EXT2_FLAG_64BITS | EXT2_FLAG_SKIP_MMP, 0, 0, &disk_io_manager, &fs))
		return NULL;
	return fs;
}

/* -- paths: libext2fs believes the length a symbolic link gives, and reads past its end ---------- */

static bool read_link(ext2_filsys fs, ext2_ino_t ino, struct ext2_inode *i, char text[LINK_MAX_LEN])
{
	u64 size = EXT2_I_SIZE(i);
	ext2_file_t file;
	unsigned got = 0;
	bool ok;

	if (!size || size >= LINK_MAX_LEN)
		return false;
	text[size] = 0;
	if (ext2fs_is_fast_symlink(i)) {
		if (size > sizeof i->i_block)
			return false;
		memcpy(text, i->i_block, size);
		return true;
	}
	if (ext2fs_file_open(fs, ino, 0, &file))
		return false;
	ok = !ext2fs_file_read(file, text, (unsigned)size, &got) && got == size;
	ext2fs_file_close(file);
	return ok;
}

/* The inode of @path, from @dir on, through symbolic links, of which there may be *links more. */
static bool look_up(ext2_filsys fs, ext2_ino_t dir, const char *path, unsigned *links,
		    ext2_ino_t *ret)
{
	char text[LINK_MAX_LEN];
	struct ext2_inode i;
	ext2_ino_t ino;

	if (*path == '/')
		dir = EXT2_ROOT_INO;
	for (;;) {
		size_t n;

		path += strspn(path, "/");
		n = strcspn(path, "/");
		if (!n)
			break;
		if (ext2fs_lookup(fs, dir, path, (int)n, NULL, &ino) ||
		    ext2fs_read_inode(fs, ino, &i))
			return false;
		if (LINUX_S_ISLNK(i.i_mode) &&
		    (!*links || (--*links, !read_link(fs, ino, &i, text)) ||
		     !look_up(fs, dir, text, links, &ino)))
			return false;
		dir = ino;
		path += n;
	}
	*ret = dir;
	return true;
}

static bool find_file(ext2_filsys fs, const char *path, ext2_ino_t *ret)
{
	unsigned links = 8;

	return look_up(fs, EXT2_ROOT_INO, path, &links, ret);
}

/* -- kernels ------------------------------------------------------------------------------ */

struct newest {
	char name[NAME_LEN];
};

/* Directory entry names are neither terminated nor trusted. */
static int visit_entry(struct ext2_dir_entry *d, int offset UNUSED, int blocksize UNUSED,
		       char *buf UNUSED, void *arg)
{
	struct newest *best = arg;
	char name[NAME_LEN];
	int len = ext2fs_dirent_name_len(d);

	if (len < 9 || len >= NAME_LEN || memcmp(d->name, "vmlinuz-", 8) ||
	    memchr(d->name, 0, (size_t)len) || memchr(d->name, '/', (size_t)len))
		return 0;
	memcpy(name, d->name, (size_t)len);
	name[len] = 0;
	if (!best->name[0] || strverscmp(name, best->name) > 0)
		strcpy(best->name, name);
	return 0;
}

/* The newest vmlinuz-VERSION in @dir ("/boot" or "/"), if any. */
static bool newest_kernel(ext2_filsys fs, const char *dir, struct newest *best)
{
	ext2_ino_t ino;

	best->name[0] = 0;
	if (!find_file(fs, dir, &ino) || ext2fs_check_directory(fs, ino))
		return false;
	if (ext2fs_dir_iterate(fs, ino, 0, NULL, visit_entry, best))
		return false;
	return best->name[0];
}

/* What is zero stays a hole: a file that is all holes costs no memory. */
static int keep(int fd, const char *buf, size_t len)
{
	bool zero = !*buf && !memcmp(buf, buf + 1, len - 1);

	if (zero)
		return lseek(fd, (off_t)len, SEEK_CUR) < 0 ? -errno : 0;
	return fd_write_full(fd, buf, len);
}

static int copy_out(ext2_file_t file, u64 size, int fd, const char *path, struct err *e)
{
	static char buf[1 << 20];

	for (u64 at = 0; at < size;) {
		unsigned got = 0;
		errcode_t r = ext2fs_file_read(file, buf, sizeof(buf), &got);

		if (r || !got)
			return err_set(e, EIO, "disk: %s: %s", path,
				       r ? error_message(r) : "ends early");
		if (keep(fd, buf, got))
			return err_set(e, errno ? errno : EIO, "disk: %s: cannot keep it in memory",
				       path);
		at += got;
	}
	if (ftruncate(fd, (off_t)size) < 0 || lseek(fd, 0, SEEK_SET) < 0)
		return err_set(e, errno, "disk: %s: %m", path);
	return 0;
}

/*
 * A file of @fs as a memfd, of at most @max bytes and no more than the disk has.
 * -ENOENT with *e set if it does not exist.
 */
static int extract(ext2_filsys fs, const char *path, u64 max, int *ret, struct err *e)
{
	ext2_file_t file;
	ext2_ino_t ino;
	__u64 size;
	int fd, r;

	if (!find_file(fs, path, &ino) || ext2fs_file_open(fs, ino, 0, &file))
		return err_set(e, ENOENT, "disk: %s: cannot be opened", path);
	if (ext2fs_file_get_lsize(file, &size) || !size || size > max ||
	    size > disk_io_size(fs->io)) {
		ext2fs_file_close(file);
		return err_set(e, EINVAL, "disk: %s: empty, or larger than %llu MiB or the disk", path,
			       (unsigned long long)max >> 20);
	}
	fd = fd_memfd("boot", 0);
	r = fd < 0 ? err_set(e, -fd, "disk: %s: %s", path, strerror(-fd)) :
		     copy_out(file, size, fd, path, e);
	ext2fs_file_close(file);
	if (r)
		fd_close(&fd);
	else
		*ret = fd;
	return r;
}

static void root_option(ext2_filsys fs, char root[DISK_ROOT_MAX])
{
	const u8 *u = fs->super->s_uuid;

	snprintf(root, DISK_ROOT_MAX,
		 "root=UUID=%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x",
		 u[0], u[1], u[2], u[3], u[4], u[5], u[6], u[7], u[8], u[9], u[10], u[11], u[12],
		 u[13], u[14], u[15]);
}

static bool has_file(ext2_filsys fs, const char *path)
{
	ext2_ino_t ino;

	return find_file(fs, path, &ino);
}

/* @prefix: "/boot/" or "/". The initrd is optional, the kernel is not. */
static int extract_pair(ext2_filsys fs, const char *prefix, const struct newest *k, int *kernel_fd,
			int *initrd_fd, struct err *e)
{
	char path[NAME_LEN + 32];
	struct err ignored;
	int kernel = -1, initrd = -1, r;

	snprintf(path, sizeof(path), "%s%s", prefix, k->name);
	TRY(extract(fs, path, KERNEL_MAX, &kernel, e));
	snprintf(path, sizeof(path), "%sinitrd.img-%s", prefix, k->name + 8);
	if (!has_file(fs, path))
		snprintf(path, sizeof(path), "%sinitramfs-%s.img", prefix, k->name + 8);
	r = extract(fs, path, INITRD_MAX, &initrd, has_file(fs, path) ? e : &ignored);
	if (r && r != -ENOENT) {
		fd_close(&kernel);
		return r;
	}
	*kernel_fd = kernel;
	*initrd_fd = initrd;
	return 0;
}

/* A /boot partition at @boot: the root file system is the other one, with /etc/fstab. */
static bool find_root(const struct disk_reader *d, const struct parts *p, unsigned boot,
		      char root[DISK_ROOT_MAX])
{
	for (unsigned i = 0; i < p->nr; i++) {
		ext2_filsys fs = i == boot ? NULL : open_fs(d, p->start[i]);
		bool found = fs && has_file(fs, "/etc/fstab");

		if (found)
			root_option(fs, root);
		if (fs)
			ext2fs_close(fs);
		if (found)
			return true;
	}
	return false;
}

/* Return: 1 found, 0 no kernel here, negative errno. */
static int try_partition(const struct disk_reader *d, const struct parts *p, unsigned i,
			 int *kernel_fd, int *initrd_fd, char root[DISK_ROOT_MAX], struct err *e)
{
	ext2_filsys fs = open_fs(d, p->start[i]);
	struct newest k;
	int r = 0;

	if (!fs)
		return 0;
	if (newest_kernel(fs, "/boot", &k)) {
		root_option(fs, root);
		r = extract_pair(fs, "/boot/", &k, kernel_fd, initrd_fd, e);
		r = r ? r : 1;
	} else if (newest_kernel(fs, "/", &k) && find_root(d, p, i, root)) {
		r = extract_pair(fs, "/", &k, kernel_fd, initrd_fd, e);
		r = r ? r : 1;
	}
	ext2fs_close(fs);
	return r;
}

int disk_find_kernel_in(const struct disk_reader *d, int *kernel_fd, int *initrd_fd,
			char root[DISK_ROOT_MAX], struct err *e)
{
	struct parts p = { .nr = 0 };

	initialize_ext2_error_table();
	read_partitions(d, d->size, &p);
	for (unsigned i = 0; i < p.nr; i++) {
		int r = try_partition(d, &p, i, kernel_fd, initrd_fd, root, e);

		if (r)
			return r < 0 ? r : 0;
	}
	return err_set(e, ENOENT, "disk: no /boot/vmlinuz-* in an ext4 file system of it; "
				  "give --kernel, and --initrd if it needs one");
}

static int read_fd(const struct disk_reader *d, u64 off, void *buf, size_t len)
{
	return fd_pread_full(*(const int *)d->ctx, buf, len, off);
}

int disk_find_kernel(int fd, int *kernel_fd, int *initrd_fd, char root[DISK_ROOT_MAX],
		     struct err *e)
{
	off_t size = lseek(fd, 0, SEEK_END);
	struct disk_reader d = { .size = (u64)size, .read = read_fd, .ctx = &fd };

	if (size < 0)
		return err_set(e, errno, "disk: %m");
	return disk_find_kernel_in(&d, kernel_fd, initrd_fd, root, e);
}
