// SPDX-License-Identifier: Apache-2.0
/* pvsteal.h - steal time of one vCPU; all on its own thread */
#ifndef CPU_SOFT_PVSTEAL_H
#define CPU_SOFT_PVSTEAL_H

#include "cpu/soft/vcpu.h"

void pvsteal_slept(struct vcpu *v, u64 cycles); /* so many TSC cycles in HLT */
void pvsteal_update(struct vcpu *v);		 /* now and then, before an interrupt */

#endif
