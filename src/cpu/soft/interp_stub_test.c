// SPDX-License-Identifier: Apache-2.0
/*
 * interp_stub_test.c - stand-ins for the parts of the engine the interpreter's
 * tests do without; weak, so the real ones win where they are linked
 */
#include "cpu/soft/ops.h"
#include "cpu/soft/tlb.h"
#define W __attribute__((weak))
unsigned cpu_model_phys_bits(void);
W unsigned cpu_model_phys_bits(void){return 40;}
W int raise_ex(struct vcpu *v,u8 n){v->exc=(struct x86_exc){.vector=n};return X_FAULT;}
W int raise_err(struct vcpu *v,u8 n,u32 e){v->exc=(struct x86_exc){.vector=n,.has_error=true,.error=e};return X_FAULT;}
W int raise_pf(struct vcpu *v,u64 la,u32 e){v->exc=(struct x86_exc){.vector=14,.has_error=true,.error=e,.addr=la};return X_FAULT;}
W int raise_db(struct vcpu *v,u64 b){v->exc=(struct x86_exc){.vector=1,.dr6=b};return X_FAULT;}
W int exec_sys(struct vcpu *v,const struct insn *i UNUSED){return raise_ex(v,6);}
W void tlb_flush_all(struct vcpu *v UNUSED){}
W void tlb_flush_nonglobal(struct vcpu *v UNUSED){}
W void tlb_flush_page(struct vcpu *v UNUSED,u64 la UNUSED){}
W void tlb_flush_pcid(struct vcpu *v UNUSED,u16 p UNUSED){}
W void tlb_switch_pcid(struct vcpu *v UNUSED){}
W void code_written(struct vcpu *v UNUSED,gpa_t g UNUSED,u64 l UNUSED){}
W u64 io_load(struct vcpu *v UNUSED,gpa_t g UNUSED,unsigned s UNUSED){return ~0ull;}
W void io_store(struct vcpu *v UNUSED,gpa_t g UNUSED,unsigned s UNUSED,u64 x UNUSED){}
