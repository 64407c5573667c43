// SPDX-License-Identifier: Apache-2.0
/* luks.c - LUKS version 1 (see crypt.h), by libgcrypt */
#include "blk/crypt.h"
#include "blk/qcow2.h"

#include <errno.h>
#include <gcrypt.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define LUKS_MAGIC    "LUKS\xba\xbe"
#define SLOTS	      8
#define SLOT_ACTIVE   0x00ac71f3u
#define SLOT_INACTIVE 0x0000deadu
#define STRIPES	      4000u
#define ITER_MIN      1000u
#define ITER_MAX FUZZ_LESS(16u << 20, 16u) /* over all slots: some seconds */
#define KEY_MAX	      64u

enum { OFF_VERSION = 6, OFF_CIPHER = 8, OFF_MODE = 40, OFF_HASH = 72, OFF_PAYLOAD = 104,
       OFF_KEY_BYTES = 108, OFF_DIGEST = 112, OFF_DIGEST_SALT = 132, OFF_DIGEST_ITER = 164,
       OFF_UUID = 168, OFF_SLOTS = 208, SLOT_SIZE = 48, HEADER_SIZE = 592, SALT = 32,
       DIGEST = 20 };

enum iv_kind { IV_PLAIN64, IV_PLAIN, IV_ESSIV };

struct luks {
	gcry_cipher_hd_t cipher, essiv;
	enum iv_kind iv;
	int algo, mode, hash;
	u32 key_bytes, payload;
	u8 key[KEY_MAX];
};

struct slot {
	u32 active, iterations, offset, stripes;
	u8 salt[SALT];
};

static pthread_once_t once = PTHREAD_ONCE_INIT;

static void init_library(void)
{
	gcry_check_version(NULL);
	gcry_control(GCRYCTL_DISABLE_SECMEM, 0);
	gcry_control(GCRYCTL_INITIALIZATION_FINISHED, 0);
}

static int bad(struct err *e, const char *what)
{
	return err_set(e, EINVAL, "luks: %s", what);
}

/* -- sectors ---------------------------------------------------------------------------------- */

static void make_iv(struct luks *l, u64 sector, u8 iv[16])
{
	memset(iv, 0, 16);
	if (l->iv == IV_PLAIN)
		sector = (u32)sector;
	memcpy(iv, &(le64){ htole64(sector) }, 8);
	if (l->iv == IV_ESSIV)
		gcry_cipher_encrypt(l->essiv, iv, 16, NULL, 0);
}

int crypt_sectors(struct luks *l, bool encrypt, u64 sector, void *buf, size_t len)
{
	u8 *p = buf, iv[16];

	for (; len; p += 512, len -= 512, sector++) {
		gcry_error_t r;

		make_iv(l, sector, iv);
		r = gcry_cipher_setiv(l->cipher, iv, sizeof iv);
		if (!r)
			r = encrypt ? gcry_cipher_encrypt(l->cipher, p, 512, NULL, 0) :
				      gcry_cipher_decrypt(l->cipher, p, 512, NULL, 0);
		if (r)
			return -EIO;
	}
	return 0;
}

/* -- the header ------------------------------------------------------------------------- */

static bool text_is(const u8 *p, const char *want)
{
	return !strncmp((const char *)p, want, 32);
}

static int parse_cipher(struct luks *l, const u8 *p, struct err *e)
{
	u32 half;

	if (!text_is(p + OFF_CIPHER, "aes"))
		return err_set(e, ENOTSUP, "luks: cipher \"%.31s\": want aes", p + OFF_CIPHER);
	l->mode = GCRY_CIPHER_MODE_XTS;
	if (text_is(p + OFF_MODE, "xts-plain64")) {
		l->iv = IV_PLAIN64;
	} else if (text_is(p + OFF_MODE, "cbc-plain64") || text_is(p + OFF_MODE, "cbc-plain")) {
		l->mode = GCRY_CIPHER_MODE_CBC;
		l->iv = text_is(p + OFF_MODE, "cbc-plain") ? IV_PLAIN : IV_PLAIN64;
	} else if (text_is(p + OFF_MODE, "cbc-essiv:sha256")) {
		l->mode = GCRY_CIPHER_MODE_CBC;
		l->iv = IV_ESSIV;
	} else {
		return err_set(e, ENOTSUP, "luks: mode \"%.31s\": want xts-plain64 or cbc",
			       p + OFF_MODE);
	}
	l->key_bytes = be32(p + OFF_KEY_BYTES);
	half = l->mode == GCRY_CIPHER_MODE_XTS ? l->key_bytes / 2 : l->key_bytes;
	l->algo = half == 16 ? GCRY_CIPHER_AES128 : half == 24 ? GCRY_CIPHER_AES192 :
								  GCRY_CIPHER_AES256;
	if (l->key_bytes > KEY_MAX || (half != 16 && half != 24 && half != 32))
		return bad(e, "a key of impossible length");
	return 0;
}

static int parse(struct luks *l, const u8 *p, struct err *e)
{
	if (memcmp(p, LUKS_MAGIC, 6) != 0)
		return bad(e, "no LUKS header");
	if (be16(p + OFF_VERSION) != 1)
		return err_set(e, ENOTSUP, "luks: version %u: want 1", be16(p + OFF_VERSION));
	TRY(parse_cipher(l, p, e));
	l->hash = text_is(p + OFF_HASH, "sha1")	  ? GCRY_MD_SHA1 :
		  text_is(p + OFF_HASH, "sha256") ? GCRY_MD_SHA256 :
		  text_is(p + OFF_HASH, "sha512") ? GCRY_MD_SHA512 :
						    0;
	if (!l->hash)
		return err_set(e, ENOTSUP, "luks: hash \"%.31s\": want sha1, sha256 or sha512",
			       p + OFF_HASH);
	l->payload = be32(p + OFF_PAYLOAD);
	return 0;
}

static struct slot get_slot(const u8 *p, unsigned i)
{
	const u8 *s = p + OFF_SLOTS + i * SLOT_SIZE;
	struct slot r = { be32(s), be32(s + 4), be32(s + 40), be32(s + 44), { 0 } };

	memcpy(r.salt, s + 8, SALT);
	return r;
}

/* -- anti-forensic splitting [LUKS1 2.4] ------------------------------------------------ */

static void hash_chunk(int hash, u32 i, u8 *p, size_t n)
{
	u8 in[4 + 64], out[64];

	put_be32(in, i);
	memcpy(in + 4, p, n);
	gcry_md_hash_buffer(hash, out, in, 4 + n);
	memcpy(p, out, n);
}

static void diffuse(int hash, u8 *p, u32 len)
{
	u32 d = gcry_md_get_algo_dlen(hash), i = 0;

	for (; len; i++) {
		u32 n = len < d ? len : d;

		hash_chunk(hash, i, p, n);
		p += n;
		len -= n;
	}
}

static void xor_into(u8 *a, const u8 *b, u32 n)
{
	for (u32 i = 0; i < n; i++)
		a[i] ^= b[i];
}

static void af_merge(int hash, const u8 *split, u32 n, u32 stripes, u8 *key)
{
	memset(key, 0, n);
	for (u32 i = 0; i + 1 < stripes; i++) {
		xor_into(key, split + (size_t)i * n, n);
		diffuse(hash, key, n);
	}
	xor_into(key, split + (size_t)(stripes - 1) * n, n);
}

static void af_split(int hash, const u8 *key, u32 n, u32 stripes, u8 *split)
{
	u8 d[KEY_MAX] = { 0 };

	gcry_randomize(split, (size_t)(stripes - 1) * n, GCRY_STRONG_RANDOM);
	for (u32 i = 0; i + 1 < stripes; i++) {
		xor_into(d, split + (size_t)i * n, n);
		diffuse(hash, d, n);
	}
	xor_into(d, key, n);
	memcpy(split + (size_t)(stripes - 1) * n, d, n);
}

/* -- keys ------------------------------------------------------------------------------- */

static int set_key(struct luks *l, const u8 *key)
{
	u8 h[32];

	if (gcry_cipher_open(&l->cipher, l->algo, l->mode, 0) ||
	    gcry_cipher_setkey(l->cipher, key, l->key_bytes))
		return -EIO;
	if (l->iv != IV_ESSIV)
		return 0;
	gcry_md_hash_buffer(GCRY_MD_SHA256, h, key, l->key_bytes);
	if (gcry_cipher_open(&l->essiv, GCRY_CIPHER_AES256, GCRY_CIPHER_MODE_ECB, 0) ||
	    gcry_cipher_setkey(l->essiv, h, sizeof h))
		return -EIO;
	return 0;
}

static void drop_key(struct luks *l)
{
	if (l->cipher)
		gcry_cipher_close(l->cipher);
	if (l->essiv)
		gcry_cipher_close(l->essiv);
	l->cipher = l->essiv = NULL;
}

static bool derive(int hash, const void *secret, size_t n, const u8 *salt, u32 iterations, u8 *out,
		   size_t len)
{
	return !gcry_kdf_derive(secret, n, GCRY_KDF_PBKDF2, hash, salt, SALT, iterations, len, out);
}

static bool key_is_right(const struct luks *l, const u8 *p)
{
	u8 d[DIGEST];

	return derive(l->hash, l->key, l->key_bytes, p + OFF_DIGEST_SALT, be32(p + OFF_DIGEST_ITER),
		      d, sizeof d) &&
	       !memcmp(d, p + OFF_DIGEST, DIGEST);
}

/* Return: 0 = opened, -ENOKEY, or another error. */
static int try_slot(struct luks *l, struct blk *file, u64 off, u64 max, const u8 *p,
		    const struct slot *s, const char *secret)
{
	size_t n = (size_t)l->key_bytes * STRIPES, sectors = (n + 511) / 512 * 512;
	u8 derived[KEY_MAX], *split;
	int r;

	if (s->stripes != STRIPES || !s->iterations || s->iterations > ITER_MAX ||
	    !range_ok((u64)s->offset * 512, sectors, max))
		return -EINVAL;
	split = malloc(sectors);
	r = split ? fio_read_below(file, off + (u64)s->offset * 512, split, sectors) : -ENOMEM;
	if (!r && !derive(l->hash, secret, strlen(secret), s->salt, s->iterations, derived,
			  l->key_bytes))
		r = -EIO;
	if (!r)
		r = set_key(l, derived);
	if (!r)
		r = crypt_sectors(l, false, 0, split, sectors);
	drop_key(l);
	if (!r) {
		af_merge(l->hash, split, l->key_bytes, STRIPES, l->key);
		r = key_is_right(l, p) ? set_key(l, l->key) : -ENOKEY;
	}
	explicit_bzero(derived, sizeof derived);
	if (split)
		explicit_bzero(split, sectors);
	free(split);
	return r;
}

static int unlock(struct luks *l, struct blk *file, u64 off, u64 max, const u8 *p,
		  const char *secret, struct err *e)
{
	u32 iter = be32(p + OFF_DIGEST_ITER);
	bool any = false;
	u64 work = 0;

	if (!iter || iter > ITER_MAX)
		return bad(e, "an impossible number of iterations");
	for (unsigned i = 0; i < SLOTS; i++) {
		struct slot s = get_slot(p, i);
		int r;

		if (s.active != SLOT_ACTIVE)
			continue;
		any = true;
		work += s.iterations;
		r = work > ITER_MAX ? -EINVAL : 0;
		if (!r)
			r = try_slot(l, file, off, max, p, &s, secret);
		if (!r)
			return 0;
		if (r == -EINVAL)
			return bad(e, "a key slot makes no sense");
		if (r != -ENOKEY)
			return err_set(e, -r, "luks: cannot read the key: %s", strerror(-r));
	}
	return any ? err_set(e, ENOKEY, "luks: wrong passphrase") : bad(e, "no key slot is in use");
}

struct luks *luks_open(struct blk *file, u64 off, u64 max, const char *secret, struct err *e)
{
	struct luks *l = calloc(1, sizeof *l);
	u8 p[HEADER_SIZE];
	int r;

	pthread_once(&once, init_library);
	if (!l) {
		err_set(e, ENOMEM, "luks: out of memory");
		return NULL;
	}
	r = fio_read_below(file, off, p, sizeof p);
	if (r)
		r = err_set(e, -r, "luks: cannot read the header: %s", strerror(-r));
	if (!r)
		r = parse(l, p, e);
	if (!r)
		r = unlock(l, file, off, max, p, secret, e);
	if (!r)
		return l;
	luks_free(l);
	return NULL;
}

void luks_free(struct luks *l)
{
	if (!l)
		return;
	drop_key(l);
	explicit_bzero(l, sizeof *l);
	free(l);
}

u64 luks_payload(const struct luks *l)
{
	return (u64)l->payload * 512;
}

int luks_peek(struct blk *file, u64 off, u64 *ret_payload, char *ret_variant, size_t len,
	      struct err *e)
{
	struct luks l = { 0 };
	u8 p[HEADER_SIZE];
	int r = fio_read_below(file, off, p, sizeof p);

	if (r)
		return err_set(e, -r, "luks: cannot read the header: %s", strerror(-r));
	TRY(parse(&l, p, e));
	*ret_payload = (u64)l.payload * 512;
	snprintf(ret_variant, len, "version 1, aes-%u-%.16s", l.key_bytes * 8, p + OFF_MODE);
	return 0;
}

/* -- new headers ------------------------------------------------------------------------ */

static u32 iterations(u32 ms)
{
	u8 out[32], salt[SALT] = { 0 };
	struct timespec a, b;
	u64 ns, n;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &a);
	derive(GCRY_MD_SHA256, "benchmark", 9, salt, 20000, out, sizeof out);
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &b);
	ns = (u64)(b.tv_sec - a.tv_sec) * 1000000000u + (u64)(b.tv_nsec - a.tv_nsec) + 1;
	n = 20000ull * ms * 1000000u / ns / 2; /* 64 bytes of key take two rounds */
	return n < ITER_MIN ? ITER_MIN : n > ITER_MAX ? ITER_MAX : (u32)n;
}

static void put_slots(u8 *p, u32 iter, const u8 *salt)
{
	u32 step = (u32)align_up((u64)KEY_MAX * STRIPES / 512, 8);

	for (unsigned i = 0; i < SLOTS; i++) {
		u8 *s = p + OFF_SLOTS + i * SLOT_SIZE;

		put_be32(s, i ? SLOT_INACTIVE : SLOT_ACTIVE);
		put_be32(s + 40, 8 + i * step);
		put_be32(s + 44, STRIPES);
		if (i)
			continue;
		put_be32(s + 4, iter);
		memcpy(s + 8, salt, SALT);
	}
}

static void put_uuid(u8 *p)
{
	u8 r[16];

	gcry_randomize(r, sizeof r, GCRY_STRONG_RANDOM);
	r[6] = (u8)((r[6] & 0x0f) | 0x40);
	r[8] = (u8)((r[8] & 0x3f) | 0x80);
	snprintf((char *)p, 40, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x",
		 r[0], r[1], r[2], r[3], r[4], r[5], r[6], r[7], r[8], r[9], r[10], r[11], r[12],
		 r[13], r[14], r[15]);
}

static void fill_header(u8 *p, const struct luks *l, u32 iter)
{
	u8 salt[SALT];

	memset(p, 0, HEADER_SIZE);
	memcpy(p, LUKS_MAGIC, 6);
	put_be16(p + OFF_VERSION, 1);
	strcpy((char *)p + OFF_CIPHER, "aes");
	strcpy((char *)p + OFF_MODE, "xts-plain64");
	strcpy((char *)p + OFF_HASH, "sha256");
	put_be32(p + OFF_PAYLOAD, LUKS_HEADER / 512);
	put_be32(p + OFF_KEY_BYTES, KEY_MAX);
	gcry_randomize(p + OFF_DIGEST_SALT, SALT, GCRY_STRONG_RANDOM);
	put_be32(p + OFF_DIGEST_ITER, iter / 8 > ITER_MIN ? iter / 8 : ITER_MIN);
	derive(l->hash, l->key, l->key_bytes, p + OFF_DIGEST_SALT, be32(p + OFF_DIGEST_ITER),
	       p + OFF_DIGEST, DIGEST);
	put_uuid(p + OFF_UUID);
	gcry_randomize(salt, sizeof salt, GCRY_STRONG_RANDOM);
	put_slots(p, iter, salt);
}

int luks_format(struct blk *file, u64 off, const char *secret, u32 iter_ms, struct err *e)
{
	struct luks l = { .algo = GCRY_CIPHER_AES256, .mode = GCRY_CIPHER_MODE_XTS,
			  .hash = GCRY_MD_SHA256, .key_bytes = KEY_MAX };
	u8 p[HEADER_SIZE], derived[KEY_MAX], *split = malloc((size_t)KEY_MAX * STRIPES);
	struct slot s;
	int r = split ? 0 : -ENOMEM;

	pthread_once(&once, init_library);
	if (r)
		return err_set(e, ENOMEM, "luks: out of memory");
	gcry_randomize(l.key, sizeof l.key, GCRY_STRONG_RANDOM);
	fill_header(p, &l, iterations(iter_ms ? iter_ms : 1000));
	s = get_slot(p, 0);
	af_split(l.hash, l.key, KEY_MAX, STRIPES, split);
	if (!derive(l.hash, secret, strlen(secret), s.salt, s.iterations, derived, KEY_MAX))
		r = -EIO;
	if (!r)
		r = set_key(&l, derived);
	if (!r)
		r = crypt_sectors(&l, true, 0, split, (size_t)KEY_MAX * STRIPES);
	if (!r)
		r = fio_write(file, off + (u64)s.offset * 512, split, (size_t)KEY_MAX * STRIPES);
	memset(split, 0, 512); /* the header's space is there to its end */
	if (!r)
		r = fio_write(file, off + LUKS_HEADER - 512, split, 512);
	if (!r)
		r = fio_write(file, off, p, sizeof p);
	drop_key(&l);
	explicit_bzero(&l, sizeof l);
	explicit_bzero(derived, sizeof derived);
	free(split);
	return r ? err_set(e, -r, "luks: cannot write the header: %s", strerror(-r)) : 0;
}
