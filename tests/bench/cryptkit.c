// SPDX-License-Identifier: Apache-2.0
// cryptkit: fixed amounts of OpenSSL's RSA-2048 signing and AES-128-GCM, the two speeds people ask of
// `openssl speed`, with a result that can be compared.
// usage: cryptkit rsa SIGNATURES | gcm BLOCKS-OF-64-KIB     prints "seconds checksum"
// Declares what it uses of libcrypto.so.3 itself: the bench needs no OpenSSL headers.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct evp EVP;
EVP *PEM_read_PrivateKey(FILE *f, EVP **key, void *cb, void *arg);
EVP *EVP_MD_CTX_new(void);
EVP *EVP_sha256(void);
int EVP_DigestSignInit(EVP *ctx, EVP **pctx, const EVP *md, void *engine, EVP *key);
int EVP_DigestSign(EVP *ctx, uint8_t *sig, size_t *len, const uint8_t *data, size_t size);
EVP *EVP_CIPHER_CTX_new(void);
EVP *EVP_aes_128_gcm(void);
int EVP_EncryptInit_ex(EVP *ctx, const EVP *c, void *engine, const uint8_t *key, const uint8_t *iv);
int EVP_EncryptUpdate(EVP *ctx, uint8_t *out, int *outl, const uint8_t *in, int inl);
int EVP_EncryptFinal_ex(EVP *ctx, uint8_t *out, int *outl);
int EVP_CIPHER_CTX_ctrl(EVP *ctx, int type, int arg, void *ptr);
enum { CTRL_AEAD_GET_TAG = 0x10 };

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

static uint64_t hash(uint64_t sum, const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		sum = (sum ^ p[i]) * 0x100000001b3ull;
	return sum;
}

static void need(int ok, const char *what)
{
	if (!ok) {
		fprintf(stderr, "cryptkit: %s failed\n", what);
		exit(1);
	}
}

// PKCS #1 v1.5 signatures: the same key and message give the same bytes everywhere.
static uint64_t rsa(long n, double *start)
{
	FILE *f = fopen("/bench/rsa.pem", "r");
	EVP *key = f ? PEM_read_PrivateKey(f, NULL, NULL, NULL) : NULL;
	uint8_t sig[256];
	uint64_t sum = 0;

	need(key != NULL, "reading /bench/rsa.pem");
	*start = now();
	for (long i = 0; i < n; i++) {
		EVP *ctx = EVP_MD_CTX_new();
		size_t len = sizeof sig;

		need(EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, key) == 1 &&
		     EVP_DigestSign(ctx, sig, &len, (const uint8_t *)&i, sizeof i) == 1, "RSA");
		sum = hash(sum, sig, len);
	}
	return sum;
}

static uint64_t gcm(long n, double *start)
{
	static uint8_t buf[65536], out[65536];
	uint8_t key[16] = "a fixed test key", iv[12] = { 0 }, tag[16];
	EVP *ctx = EVP_CIPHER_CTX_new();
	uint64_t sum = 0;
	int len;

	for (size_t i = 0; i < sizeof buf; i++)
		buf[i] = (uint8_t)(i * 7);
	*start = now();
	for (long i = 0; i < n; i++) {
		memcpy(iv, &i, sizeof i);
		need(EVP_EncryptInit_ex(ctx, EVP_aes_128_gcm(), NULL, key, iv) == 1 &&
		     EVP_EncryptUpdate(ctx, out, &len, buf, sizeof buf) == 1 &&
		     EVP_EncryptFinal_ex(ctx, out, &len) == 1 &&
		     EVP_CIPHER_CTX_ctrl(ctx, CTRL_AEAD_GET_TAG, 16, tag) == 1, "AES-GCM");
		sum = hash(sum, tag, sizeof tag);
	}
	return sum;
}

int main(int argc, char **argv)
{
	double start = 0;
	uint64_t sum;

	if (argc != 3)
		return 2;
	sum = strcmp(argv[1], "rsa") == 0 ? rsa(atol(argv[2]), &start) : gcm(atol(argv[2]), &start);
	printf("%.6f %016llx\n", now() - start, (unsigned long long)sum);
	return 0;
}
