/* SPDX-License-Identifier: Apache-2.0 */
/* layout.h - numbers shared by start.S and C */
#ifndef GUEST_LAYOUT_H
#define GUEST_LAYOUT_H

#define MAX_CPUS    8
#define STACK_SHIFT 14
#define STACK_SIZE  (1 << STACK_SHIFT)
#define AP_START    0x8000	 /* where INIT-SIPI starts the others */
#define USER_ALIAS  0x8000000000 /* the low 4 GiB again, for ring 3 */

#define SEL_CODE   0x08
#define SEL_DATA   0x10
#define SEL_CODE32 0x18
#define SEL_UDATA  0x23
#define SEL_UCODE  0x2b
#define SEL_SPARE  0x30
#define SEL_TSS	   0x38

#endif
