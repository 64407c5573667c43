// SPDX-License-Identifier: Apache-2.0
/*
 * mmds_token.c - session tokens of the metadata service
 *
 * A token is its end of life and a serial number, with a code under a key that lives as
 * long as the service: nothing is kept per token, so a guest can ask for any number.
 * SipHash is from Aumasson and Bernstein, "SipHash: a fast short-input PRF" (2012).
 */
#include "net/mmds_int.h"

#include "base/clock.h"

#include <stdio.h>
#include <string.h>

#define SECOND 1000000000ull

static u64 rotl(u64 v, unsigned n)
{
	return v << n | v >> (64 - n);
}

static void rounds(u64 v[4], unsigned n)
{
	while (n--) {
		v[0] += v[1], v[2] += v[3];
		v[1] = rotl(v[1], 13) ^ v[0], v[3] = rotl(v[3], 16) ^ v[2];
		v[0] = rotl(v[0], 32);
		v[2] += v[1], v[0] += v[3];
		v[1] = rotl(v[1], 17) ^ v[2], v[3] = rotl(v[3], 21) ^ v[0];
		v[2] = rotl(v[2], 32);
	}
}

u64 mmds_siphash(const u64 key[2], const void *data, size_t len)
{
	u64 v[4] = { key[0] ^ 0x736f6d6570736575ull, key[1] ^ 0x646f72616e646f6dull,
		     key[0] ^ 0x6c7967656e657261ull, key[1] ^ 0x7465646279746573ull };
	const u8 *p = data;

	for (size_t at = 0; at <= len; at += 8) {
		size_t n = len - at < 8 ? len - at : 8;
		le64 w = { 0 };
		u64 word;

		memcpy(&w, p + at, n);
		word = le64_get(w) | (n < 8 ? (u64)len << 56 : 0);
		v[3] ^= word;
		rounds(v, 2);
		v[0] ^= word;
	}
	v[2] ^= 0xff;
	rounds(v, 4);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

static void print(const struct mmds *m, u64 end, u64 serial, char ret[MMDS_TOKEN_SIZE])
{
	const u64 other[2] = { ~m->key[0], m->key[1] };
	const u64 body[2] = { end, serial };

	snprintf(ret, MMDS_TOKEN_SIZE, "%016llx%016llx%016llx%016llx", (unsigned long long)end,
		 (unsigned long long)serial,
		 (unsigned long long)mmds_siphash(m->key, body, sizeof body),
		 (unsigned long long)mmds_siphash(other, body, sizeof body));
}

void mmds_token_make(struct mmds *m, u32 ttl, char ret[MMDS_TOKEN_SIZE])
{
	print(m, clock_now_ns(m->cfg.clock) + ttl * SECOND, m->serial++, ret);
}

bool mmds_token_ok(const struct mmds *m, const char *token, size_t len)
{
	char want[MMDS_TOKEN_SIZE], text[MMDS_TOKEN_SIZE];
	unsigned long long end, serial;
	unsigned diff = 0;

	if (len != sizeof text - 1)
		return false;
	memcpy(text, token, len);
	text[len] = '\0';
	if (strspn(text, "0123456789abcdef") != len || sscanf(text, "%16llx%16llx", &end, &serial) != 2)
		return false;
	print(m, end, serial, want);
	for (size_t i = 0; i < len; i++) /* as long for a wrong code as for a right one */
		diff |= (unsigned)(text[i] ^ want[i]);
	return !diff && clock_now_ns(m->cfg.clock) < end;
}
