// SPDX-License-Identifier: Apache-2.0
/* jit.c - placeholder until the translator lands: every vCPU interprets */
#include "cpu/soft/jit.h"
#include "cpu/soft/tlb.h"

int jit_new(struct vcpu *v UNUSED, struct err *e UNUSED)
{
	return 0;
}

void jit_free(struct vcpu *v UNUSED) {}
void jit_thread_enter(struct vcpu *v UNUSED) {}

bool jit_usable(const struct vcpu *v UNUSED)
{
	return false;
}

int jit_run(struct vcpu *v UNUSED)
{
	return X_OK;
}

void jit_post_code_write(struct vcpu *v UNUSED, gpa_t gpa UNUSED, u64 len UNUSED) {}
void jit_take_code_writes(struct vcpu *v UNUSED) {}

size_t jit_stats(const struct vcpu *v UNUSED, char *buf UNUSED, size_t len UNUSED)
{
	return 0;
}

void tlb_flush_all(struct vcpu *v UNUSED) {}
void tlb_flush_nonglobal(struct vcpu *v UNUSED) {}
void tlb_flush_page(struct vcpu *v UNUSED, u64 la UNUSED) {}
void tlb_flush_pcid(struct vcpu *v UNUSED, u16 pcid UNUSED) {}
void tlb_switch_pcid(struct vcpu *v UNUSED) {}
void code_written(struct vcpu *v UNUSED, gpa_t gpa UNUSED, u64 len UNUSED) {}
