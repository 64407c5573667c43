// SPDX-License-Identifier: Apache-2.0
/* pvclock.h - records that the engine writes for the guest */
#ifndef CPU_SOFT_PVCLOCK_H
#define CPU_SOFT_PVCLOCK_H

#include "cpu/soft/vcpu.h"

/* Bytes that are not RAM are dropped. */
void pv_write_guest(struct vcpu *v, gpa_t gpa, const void *buf, unsigned len);

#endif
