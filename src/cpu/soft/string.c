// SPDX-License-Identifier: Apache-2.0
/* string.c - memory functions without vector registers; see freestanding.h */
#include <string.h>

void *memcpy(void *dst, const void *src, size_t len)
{
	void *d = dst;

	__asm__ volatile("rep movsb" : "+D"(d), "+S"(src), "+c"(len) : : "memory");
	return dst;
}

void *memmove(void *dst, const void *src, size_t len)
{
	unsigned char *d = dst;
	const unsigned char *s = src;

	if (d <= s || d >= s + len)
		return memcpy(dst, src, len);
	while (len--) {
		d[len] = s[len];
		__asm__ volatile("" : : : "memory"); /* keep it a loop */
	}
	return dst;
}

void *memset(void *dst, int c, size_t len)
{
	void *d = dst;

	__asm__ volatile("rep stosb" : "+D"(d), "+c"(len) : "a"(c) : "memory");
	return dst;
}

int memcmp(const void *a, const void *b, size_t len)
{
	const unsigned char *x = a, *y = b;

	for (size_t k = 0; k < len; k++) {
		if (x[k] != y[k])
			return x[k] - y[k];
	}
	return 0;
}
