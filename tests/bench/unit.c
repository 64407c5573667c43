// SPDX-License-Identifier: Apache-2.0
// What the bench's gcc compiles: mkguest writes this text several times into one file, with another
// number for each UNIT. No headers, so that the compiler is all that is measured.
struct node_UNIT {
	struct node_UNIT *left, *right;
	unsigned long key, count;
	char name[24];
};

struct pool_UNIT {
	struct node_UNIT node[512];
	unsigned used;
};

static struct node_UNIT *make_UNIT(struct pool_UNIT *p, unsigned long key)
{
	struct node_UNIT *n = p->used < 512 ? &p->node[p->used++] : 0;
	unsigned i;

	if (!n)
		return 0;
	n->left = n->right = 0;
	n->key = key;
	n->count = 1;
	for (i = 0; i < sizeof n->name - 1 && key; i++, key /= 26)
		n->name[i] = (char)('a' + key % 26);
	n->name[i] = 0;
	return n;
}

struct node_UNIT *insert_UNIT(struct pool_UNIT *p, struct node_UNIT *root, unsigned long key)
{
	struct node_UNIT **at = &root;

	while (*at) {
		if ((*at)->key == key) {
			(*at)->count++;
			return root;
		}
		at = key < (*at)->key ? &(*at)->left : &(*at)->right;
	}
	*at = make_UNIT(p, key);
	return root;
}

unsigned long walk_UNIT(const struct node_UNIT *n, unsigned depth)
{
	return n ? walk_UNIT(n->left, depth + 1) + n->count * depth + walk_UNIT(n->right, depth + 1) : 0;
}

void smooth_UNIT(double *out, const double *in, int w, int h)
{
	for (int y = 1; y < h - 1; y++)
		for (int x = 1; x < w - 1; x++) {
			double sum = 0;

			for (int dy = -1; dy <= 1; dy++)
				for (int dx = -1; dx <= 1; dx++)
					sum += in[(y + dy) * w + x + dx] * (dx || dy ? 0.1 : 0.2);
			out[y * w + x] = sum;
		}
}

enum op_UNIT { PUSH_UNIT, ADD_UNIT, SUB_UNIT, MUL_UNIT, DIV_UNIT, DUP_UNIT, SWAP_UNIT, JZ_UNIT, END_UNIT };

long interpret_UNIT(const short *code, int limit)
{
	long stack[64] = { 0 }, t;
	int sp = 0, pc = 0;

	while (limit-- > 0 && sp >= 0 && sp < 62) {
		switch ((enum op_UNIT)code[pc++]) {
		case PUSH_UNIT: stack[sp++] = code[pc++]; break;
		case ADD_UNIT: sp--; stack[sp] += stack[sp + 1]; break;
		case SUB_UNIT: sp--; stack[sp] -= stack[sp + 1]; break;
		case MUL_UNIT: sp--; stack[sp] *= stack[sp + 1]; break;
		case DIV_UNIT: sp--; stack[sp] /= stack[sp + 1] ? stack[sp + 1] : 1; break;
		case DUP_UNIT: stack[sp + 1] = stack[sp]; sp++; break;
		case SWAP_UNIT: t = stack[sp]; stack[sp] = stack[sp + 1]; stack[sp + 1] = t; break;
		case JZ_UNIT: pc = stack[sp] ? pc + 1 : code[pc]; break;
		case END_UNIT: return stack[sp];
		}
	}
	return -1;
}

unsigned crc_UNIT(const unsigned char *p, unsigned long n)
{
	unsigned crc = ~0u;

	while (n--) {
		crc ^= *p++;
		for (int k = 0; k < 8; k++)
			crc = crc & 1 ? crc >> 1 ^ 0xedb88320u : crc >> 1;
	}
	return ~crc;
}

int format_UNIT(char *out, int size, const char *fmt, const long *arg)
{
	int n = 0;

	for (; *fmt && n < size - 24; fmt++) {
		unsigned long v;
		char digits[24];
		int d = 0, base;

		if (*fmt != '%') {
			out[n++] = *fmt;
			continue;
		}
		base = *++fmt == 'x' ? 16 : *fmt == 'o' ? 8 : 10;
		v = (unsigned long)*arg++;
		if (*fmt == 'd' && (long)v < 0) {
			out[n++] = '-';
			v = -v;
		}
		do
			digits[d++] = "0123456789abcdef"[v % (unsigned)base];
		while (v /= (unsigned)base);
		while (d)
			out[n++] = digits[--d];
	}
	out[n] = 0;
	return n;
}

void sort_UNIT(long *v, int n)
{
	for (int gap = n / 2; gap > 0; gap /= 2)
		for (int i = gap; i < n; i++) {
			long x = v[i];
			int j = i;

			for (; j >= gap && v[j - gap] > x; j -= gap)
				v[j] = v[j - gap];
			v[j] = x;
		}
}
