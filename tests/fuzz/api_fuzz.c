// SPDX-License-Identifier: Apache-2.0
/*
 * api_fuzz.c - the HTTP API under mutated requests
 *
 * usage: api-fuzz [--seed N] [--count N] [FILE...]
 *
 * Requests that are right are bent (bytes, words, numbers, pieces of others, lengths, cuts)
 * and fed to the server as its connections are, in pieces. Files are opened through a
 * broker that knows one empty directory. Every answer must be whole HTTP with whole JSON,
 * an error with its text; what cannot be parsed as JSON is never a success. Built with
 * -DLIBFUZZER it is a libFuzzer target instead.
 */
#include "api/api_int.h"
#include "os/opener.h"
#include "vmm/vmm.h"

#include <assert.h>
#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_BODY 2048
#define FEED_MAX 16384
#define RENEW	 20000 /* inputs */

/* -- the other thread: whoever asks for a VM is told that there is none ------------------------ */

static void *refuse_starts(void *arg)
{
	struct api *a = arg;
	const struct snapshot_load *load;
	const struct err e = { .code = EPERM, .msg = "not here" };

	for (;;) {
		struct vm_config *c = api_wait_start(a, &load);

		if (!c)
			return NULL;
		fc_close_config(c);
		api_started(a, NULL, &e);
	}
}

struct target {
	struct opener *opener;
	struct api *api;
	struct thread thread;
	char dir[64];
};

static void die(const char *what)
{
	fprintf(stderr, "api-fuzz: %s\n", what);
	abort();
}

static void target_open(struct target *t)
{
	const struct api_opts o = { .listen_fd = -1,
				    .id = "fuzz",
				    .firecracker = true,
				    .opener = t->opener,
				    .max_payload = MAX_BODY,
				    .mmds_limit = 1024 };
	struct err e = { 0 };

	t->api = api_new(&o, &e);
	t->thread = (struct thread){ 0 };
	if (!t->api ||
	    thread_start(&t->thread, "starter", JAIL_NONE, refuse_starts, t->api, &e))
		die(e.msg);
	t->api->log_fd = -1;
}

static void target_close(struct target *t)
{
	api_request_end(t->api);
	thread_join(&t->thread);
	api_free(t->api);
}

static void target_init(struct target *t)
{
	struct opener_policy p = { .dir = { t->dir }, .nr_dirs = 1 };
	struct err e = { 0 };

	strcpy(t->dir, "/tmp/api-fuzz-XXXXXX");
	if (!mkdtemp(t->dir))
		die("no directory");
	t->opener = opener_start(&p, &e);
	if (!t->opener)
		die(e.msg);
	target_open(t);
}

static int remove_one(const char *path, const struct stat *st UNUSED, int type UNUSED,
		      struct FTW *f UNUSED)
{
	return remove(path);
}

static void target_fini(struct target *t)
{
	target_close(t);
	opener_stop(t->opener);
	nftw(t->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* -- what answers must be --------------------------------------------------------------------- */

static void check_body(int status, const char *p, size_t len)
{
	json_t *v = json_loadb(p, len, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, NULL);

	if (!v)
		die("an answer that is not JSON");
	if (status >= 400 && !json_object_get(v, "fault_message") && !json_object_get(v, "error") &&
	    !json_object_get(v, "detail"))
		die("an error without its text");
	json_decref(v);
}

static u64 nr_good, nr_bad; /* answers */

/* Each answer in @out; *stored: was one a success without a body. */
static void check_answers(char *out, size_t len, bool *stored)
{
	*stored = false;
	while (len) {
		char *end = memmem(out, len, "\r\n\r\n", 4), *p;
		size_t head = end ? (size_t)(end + 4 - out) : 0, body = 0;
		int status = 0;

		if (!head || sscanf(out, "HTTP/1.1 %3d ", &status) != 1)
			die("an answer that is not HTTP");
		p = memmem(out, head, "Content-Length: ", 16);
		if (p)
			body = strtoul(p + 16, NULL, 10);
		if (status < 100 || status > 599 || body > len - head)
			die("an answer with a wrong length or status");
		if (body)
			check_body(status, out + head, body);
		else if (status >= 400)
			die("an error without a body");
		*stored |= status == 204;
		nr_good += status < 400;
		nr_bad += status >= 400;
		out += head + body;
		len -= head + body;
	}
}

/* Does a lone request have a body that is no JSON at all? Then nothing may be stored. */
static bool is_rubbish(const char *in, size_t len)
{
	struct http_head h;
	struct err e = { 0 };
	ssize_t n = http_parse(in, len, &h, &e);
	const char *p;

	if (n <= 0 || !h.body_len || h.body_len != len - (size_t)n)
		return false;
	p = in + n;
	while (h.body_len && strchr(" \t\r\n", *p))
		p++, h.body_len--;
	return h.body_len && *p != '{';
}

/* Feed @len bytes as a connection does, @piece at a time. */
static void feed(struct target *t, const char *in, size_t len, size_t piece)
{
	char *out = NULL;
	size_t out_len = 0, have = 0, used, given = 0;
	static char buf[FEED_MAX];
	u64 discard = 0;
	bool continued = false, stored, rubbish = is_rubbish(in, len), go_on = true;

	while (given < len && go_on) {
		size_t n = len - given < piece ? len - given : piece;

		if (have + n > sizeof buf)
			break;
		memcpy(buf + have, in + given, n);
		have += n;
		given += n;
		go_on = server_feed(t->api, MAX_BODY, buf, have, &used, &discard, &continued, &out,
				    &out_len);
		if (used > have)
			die("more bytes used than there were");
		memmove(buf, buf + used, have - used);
		have -= used;
	}
	out = realloc(out, out_len + 1);
	if (!out)
		die("out of memory");
	out[out_len] = '\0';
	check_answers(out, out_len, &stored);
	if (stored && rubbish && !memmem(in, len, "/balloon/hinting/stop", 21))
		die("a success for what is no JSON object");
	free(out);
	if (t->api->fatal) { /* a snapshot could not be loaded: the process would have ended */
		target_close(t);
		target_open(t);
	}
}

/* -- requests that are right, to be bent ------------------------------------------------------ */

static const struct {
	const char *method, *path, *body;
} good[] = {
	{ "GET", "/", "" },
	{ "GET", "/vm/config", "" },
	{ "GET", "/machine-config", "" },
	{ "GET", "/mmds", "" },
	{ "GET", "/balloon", "" },
	{ "GET", "/vireo/v1/vm", "" },
	{ "POST", "/vireo/v1/vm/actions/pause", "" },
	{ "PUT", "/actions", "{\"action_type\":\"InstanceStart\"}" },
	{ "PUT", "/machine-config",
	  "{\"vcpu_count\":2,\"mem_size_mib\":256,\"smt\":false,\"track_dirty_pages\":true,"
	  "\"cpu_template\":\"T2\",\"huge_pages\":\"None\"}" },
	{ "PATCH", "/machine-config", "{\"vcpu_count\":1}" },
	{ "PUT", "/boot-source",
	  "{\"kernel_image_path\":\"k\",\"initrd_path\":\"i\",\"boot_args\":\"a b c\"}" },
	{ "PUT", "/cpu-config",
	  "{\"kvm_capabilities\":[\"1\",\"!2\"],\"cpuid_modifiers\":[{\"leaf\":\"0x1\",\"subleaf\":"
	  "\"0b0\",\"flags\":0,\"modifiers\":[{\"register\":\"eax\",\"bitmap\":\"0bx01\"}]}],"
	  "\"msr_modifiers\":[{\"addr\":\"0x10a\",\"bitmap\":\"0b1\"}]}" },
	{ "PUT", "/drives/d1",
	  "{\"drive_id\":\"d1\",\"path_on_host\":\"f\",\"is_root_device\":true,\"is_read_only\":false,"
	  "\"partuuid\":\"x\",\"cache_type\":\"Writeback\",\"io_engine\":\"Sync\",\"rate_limiter\":"
	  "{\"bandwidth\":{\"size\":1,\"refill_time\":2,\"one_time_burst\":3},\"ops\":null}}" },
	{ "PATCH", "/drives/d1", "{\"drive_id\":\"d1\",\"path_on_host\":\"f\"}" },
	{ "PUT", "/network-interfaces/e1",
	  "{\"iface_id\":\"e1\",\"host_dev_name\":\"t\",\"guest_mac\":\"06:00:00:00:00:01\",\"mtu\":1400}" },
	{ "PUT", "/vsock", "{\"guest_cid\":3,\"uds_path\":\"v\",\"vsock_id\":\"x\"}" },
	{ "PUT", "/balloon",
	  "{\"amount_mib\":16,\"deflate_on_oom\":true,\"stats_polling_interval_s\":1,"
	  "\"free_page_hinting\":true,\"free_page_reporting\":false}" },
	{ "PATCH", "/balloon/hinting/start", "{\"acknowledge_on_stop\":true}" },
	{ "PUT", "/entropy", "{\"rate_limiter\":{\"ops\":{\"size\":9,\"refill_time\":9}}}" },
	{ "PUT", "/mmds", "{\"a\":{\"b\":[1,2.5,null,\"c\"]},\"d\":\"e\"}" },
	{ "PATCH", "/mmds", "{\"a\":{\"b\":null},\"f\":{\"g\":{}}}" },
	{ "PUT", "/mmds/config",
	  "{\"network_interfaces\":[\"e1\"],\"version\":\"V2\",\"ipv4_address\":\"169.254.1.1\"}" },
	{ "PUT", "/pmem/p1", "{\"id\":\"p1\",\"path_on_host\":\"f\",\"root_device\":false}" },
	{ "PUT", "/hotplug/memory", "{\"total_size_mib\":1024,\"slot_size_mib\":128,\"block_size_mib\":2}" },
	{ "PUT", "/serial", "{\"serial_out_path\":\"s\",\"rate_limiter\":{\"size\":1,\"refill_time\":1}}" },
	{ "PUT", "/logger", "{\"level\":\"Off\",\"log_path\":\"l\",\"show_level\":true,\"module\":\"api\"}" },
	{ "PUT", "/metrics", "{\"metrics_path\":\"m\",\"emit_id\":true,\"properties\":{\"a\":\"b\"}}" },
	{ "PATCH", "/vm", "{\"state\":\"Paused\"}" },
	{ "PUT", "/snapshot/create", "{\"mem_file_path\":\"m\",\"snapshot_path\":\"s\",\"snapshot_type\":\"Diff\"}" },
	{ "PUT", "/snapshot/load",
	  "{\"snapshot_path\":\"s\",\"mem_backend\":{\"backend_type\":\"File\",\"backend_path\":\"m\"},"
	  "\"resume_vm\":true,\"network_overrides\":[{\"iface_id\":\"a\",\"host_dev_name\":\"b\"}]}" },
};

static const char *const words[] = {
	"null", "true", "-1", "0", "1e309", "18446744073709551616", "4294967295", "\"\"", "[]", "{}",
	"\\u0000", "\\ud800", "\xff", "[[[[[[[[[[", "\"id\"", "..", "/", "\r\n", "\r\n\r\n", ": ",
	"Content-Length: 5\r\n", "Expect: 100-continue\r\n", "Transfer-Encoding: chunked\r\n",
	"Connection: close\r\n", "HTTP/1.0", ",", "\"a\":1,", "\x00",
};

static u64 rng;

static u32 rnd(u32 n)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return n ? (u32)(rng >> 16) % n : 0;
}

static size_t build(char *buf, unsigned i, bool honest)
{
	size_t len = strlen(good[i].body);

	return (size_t)sprintf(buf, "%s %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %zu\r\n\r\n%s",
			       good[i].method, good[i].path, honest ? len : len + rnd(4) - 2,
			       good[i].body);
}

/* One change within [from, len); the new length. */
static size_t bend(char *buf, size_t from, size_t len)
{
	size_t at = from + rnd((u32)(len - from) + 1), n;
	const char *w;

	switch (rnd(7)) {
	case 0: /* a byte */
		if (at < len)
			buf[at] = (char)rnd(256);
		return len;
	case 1: /* a bit */
		if (at < len)
			buf[at] ^= (char)(1 << rnd(8));
		return len;
	case 2: /* out with a piece */
		n = rnd((u32)(len - at) + 1);
		n = n > 12 ? rnd(12) : n;
		memmove(buf + at, buf + at + n, len - at - n);
		return len - n;
	case 3: /* cut */ return rnd(8) ? len : at;
	case 4: /* a piece twice */
		n = len - at < 64 ? len - at : rnd(64);
		memmove(buf + at + n, buf + at, len - at);
		return len + n;
	default: /* a word */
		w = words[rnd(array_len(words))];
		n = *w ? strlen(w) : 1;
		memmove(buf + at + n, buf + at, len - at);
		memcpy(buf + at, w, n);
		return len + n;
	}
}

/* The length a header gives is set right, so that the body is looked at. */
static size_t fix_length(char *buf, size_t len)
{
	char *head = memmem(buf, len, "\r\n\r\n", 4), *p, text[32];
	size_t n;

	p = head ? memmem(buf, (size_t)(head - buf), "Content-Length: ", 16) : NULL;
	if (!p)
		return len;
	p += 16;
	n = strspn(p, "0123456789");
	sprintf(text, "%zu", len - (size_t)(head + 4 - buf));
	memmove(p + strlen(text), p + n, len - (size_t)(p + n - buf));
	memcpy(p, text, strlen(text));
	return len - n + strlen(text);
}

static size_t make_input(char *buf)
{
	unsigned nr = rnd(8) ? 1 : 1 + rnd(3);
	size_t len = 0;

	for (unsigned i = 0; i < nr; i++) {
		char *p = buf + len;
		size_t n = build(p, rnd(array_len(good)), rnd(8) != 0);
		char *body = memmem(p, n, "\r\n\r\n", 4);
		size_t from = rnd(4) && body ? (size_t)(body + 4 - p) : 0;

		for (u32 k = rnd(5); k > 0; k--)
			n = bend(p, from < n ? from : n, n);
		if (rnd(8))
			n = fix_length(p, n);
		len += n;
	}
	return len;
}

static void seed_rng(u64 seed)
{
	rng = seed * 0x9e3779b97f4a7c15ull | 1;
	for (unsigned k = 0; k < 4; k++)
		rnd(0), rng ^= rng << 13, rng ^= rng >> 7, rng ^= rng << 17;
}

/* What requests have stored is forgotten from time to time. */
static void feed_next(struct target *t, const char *in, size_t len, size_t piece)
{
	static u64 nr;

	feed(t, in, len, piece);
	if (++nr % RENEW == 0) {
		target_close(t);
		target_open(t);
	}
}

#ifdef LIBFUZZER

size_t LLVMFuzzerMutate(u8 *p, size_t n, size_t max);
size_t LLVMFuzzerCustomMutator(u8 *p, size_t n, size_t max, unsigned seed);
int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

size_t LLVMFuzzerCustomMutator(u8 *p, size_t n, size_t max, unsigned seed)
{
	static char work[FEED_MAX * 2];

	seed_rng(seed);
	if (rnd(4) == 0 || n > FEED_MAX || max < 64)
		return LLVMFuzzerMutate(p, n, max);
	if (rnd(4) == 0) {
		n = make_input(work);
	} else {
		memcpy(work, p, n);
		for (u32 k = 1 + rnd(4); k > 0; k--)
			n = bend(work, 0, n);
		n = rnd(8) ? fix_length(work, n) : n;
	}
	n = n < max ? n : max;
	memcpy(p, work, n);
	return n;
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	static struct target t;

	if (!t.api)
		target_init(&t);
	feed_next(&t, (const char *)data, size < FEED_MAX ? size : FEED_MAX, 1 + size / 2);
	return 0;
}

#else

static void run_file(struct target *t, const char *path)
{
	static char buf[FEED_MAX];
	FILE *f = fopen(path, "rb");
	size_t n = f ? fread(buf, 1, sizeof buf, f) : 0;

	if (!f)
		die("a file cannot be opened");
	fclose(f);
	feed(t, buf, n, 1 + n / 2);
}

int main(int argc, char **argv)
{
	static char buf[FEED_MAX];
	static struct target t;
	u64 seed = 1, count = 100000;
	int i = 1;

	for (; i + 1 < argc && !strncmp(argv[i], "--", 2); i += 2) {
		if (!strcmp(argv[i], "--seed"))
			seed = strtoull(argv[i + 1], NULL, 0);
		else if (!strcmp(argv[i], "--count"))
			count = strtoull(argv[i + 1], NULL, 0);
	}
	target_init(&t);
	for (; i < argc; i++)
		run_file(&t, argv[i]);
	for (u64 k = 0; k < count; k++) {
		seed_rng(seed + k);
		alarm(10); /* a hang ends the program */
		feed_next(&t, buf, make_input(buf), rnd(4) ? sizeof buf : 1 + rnd(100));
	}
	target_fini(&t);
	printf("%llu inputs from seed %llu: %llu requests served, %llu refused\n"
	       "1 passed, 0 failed, 0 skipped\n",
	       (unsigned long long)count, (unsigned long long)seed, (unsigned long long)nr_good,
	       (unsigned long long)nr_bad);
	return 0;
}

#endif
