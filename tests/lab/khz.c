// SPDX-License-Identifier: Apache-2.0
/* khz.c - the host's TSC frequency, for the lab's kernel: it would measure it, badly on a busy host */
#include "cpu/cpu.h"

#include <stdio.h>

int main(void)
{
	printf("%llu\n", (unsigned long long)cpu_tsc_khz());
	return 0;
}
