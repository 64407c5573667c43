// SPDX-License-Identifier: Apache-2.0
/* escape.c - the terminal's escape key (see ui.h) */
#include "ui/ui.h"

enum escape_event escape_filter(struct escape *s, const u8 *in, size_t len, size_t *used, u8 *out,
				size_t *n)
{
	*n = 0;
	for (*used = 0; *used < len;) {
		u8 c = in[(*used)++];

		if (!s->pending) {
			if (c == ESCAPE_KEY)
				s->pending = true;
			else
				out[(*n)++] = c;
			continue;
		}
		s->pending = false;
		if (c == 'q')
			return ESCAPE_QUIT;
		if (c == '?')
			return ESCAPE_HELP;
		out[(*n)++] = ESCAPE_KEY;
		if (c != ESCAPE_KEY)
			out[(*n)++] = c;
	}
	return ESCAPE_NONE;
}
