// SPDX-License-Identifier: Apache-2.0
/*
 * dev_fuzz.c - the device fuzzer as a program
 *
 *	dev-fuzz [--seed N] [--count N]	inputs made from N, N + 1, ...
 *	dev-fuzz FILE...		inputs from files (a crash saved by libFuzzer)
 *
 * Ends with "N passed, N failed, 0 skipped". Compiled with -DLIBFUZZER it is a
 * libFuzzer target instead (make fuzz).
 */
#include "dev/all/fuzz.h"
#include "fake_disk.h"

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[] = "/tmp/vireo-dev-fuzz.XXXXXX";

static int remove_entry(const char *path, const struct stat *st UNUSED, int flag UNUSED,
			struct FTW *f)
{
	return f->level ? remove(path) : 0;
}

/* The shared directory as it is before every input: one file, one directory. */
static void tidy_dir(int fd)
{
	int file;

	nftw(dir, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
	file = openat(fd, "file", O_CREAT | O_RDWR | O_CLOEXEC, 0644);
	if (file >= 0 && ftruncate(file, 5000) == 0)
		close(file);
	mkdirat(fd, "dir", 0755);
}

static void remove_dir(void)
{
	nftw(dir, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
	rmdir(dir);
}

static struct dev_fuzz *board(void)
{
	static struct dev_fuzz_host host = { .dir_fd = -1 };

	host.disk = fake_disk();
	if (!mkdtemp(dir))
		return NULL;
	atexit(remove_dir);
	host.dir_fd = open(dir, O_DIRECTORY | O_CLOEXEC);
	return host.dir_fd < 0 ? NULL : dev_fuzz_new(&host);
}

static const char *run(struct dev_fuzz *z, const u8 *data, size_t len)
{
	static unsigned nr;
	const char *broken;
	int fd;

	if (nr++ % 256 == 0 && (fd = open(dir, O_DIRECTORY | O_CLOEXEC)) >= 0) {
		tidy_dir(fd);
		close(fd);
	}
	broken = dev_fuzz_run(z, data, len);
	fake_disk_finish();
	return broken;
}

#ifdef LIBFUZZER

int LLVMFuzzerTestOneInput(const u8 *data, size_t len);

int LLVMFuzzerTestOneInput(const u8 *data, size_t len)
{
	static struct dev_fuzz *z;
	const char *broken;

	if (!z && !(z = board()))
		abort();
	broken = run(z, data, len);
	if (broken) {
		fprintf(stderr, "dev-fuzz: %s\n", broken);
		abort();
	}
	return 0;
}

#else

static u8 buf[1 << 16];
static unsigned passed, failed;

static void run_one(struct dev_fuzz *z, const char *what, size_t len)
{
	const char *broken = run(z, buf, len);

	if (broken)
		fprintf(stderr, "dev-fuzz: %s: %s\n", what, broken);
	failed += broken != NULL;
	passed += broken == NULL;
}

static void run_file(struct dev_fuzz *z, const char *path)
{
	FILE *f = fopen(path, "rb");

	if (!f) {
		fprintf(stderr, "dev-fuzz: %s: cannot be opened\n", path);
		failed++;
		return;
	}
	run_one(z, path, fread(buf, 1, sizeof buf, f));
	fclose(f);
}

int main(int argc, char **argv)
{
	unsigned long seed = 1, count = 300;
	struct dev_fuzz *z = board();
	char name[40];
	int i = 1;

	if (!z) {
		fprintf(stderr, "dev-fuzz: no memory for the board\n");
		return EXIT_FAILURE;
	}
	for (; i + 1 < argc && !strncmp(argv[i], "--", 2); i += 2) {
		if (!strcmp(argv[i], "--seed"))
			seed = strtoul(argv[i + 1], NULL, 0);
		if (!strcmp(argv[i], "--count"))
			count = strtoul(argv[i + 1], NULL, 0);
	}
	for (int k = i; k < argc; k++)
		run_file(z, argv[k]);
	for (unsigned long n = 0; i >= argc && n < count; n++) {
		snprintf(name, sizeof name, "seed %lu", seed + n);
		run_one(z, name, dev_fuzz_make(seed + n, buf, 8192));
	}
	dev_fuzz_free(z);
	printf("%u passed, %u failed, 0 skipped\n", passed, failed);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

#endif
