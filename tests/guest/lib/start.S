// SPDX-License-Identifier: Apache-2.0
/*
 * start.S - from the PVH entry to 64-bit C, interrupt entries, rings, CPU start-up
 *
 * Memory: the low 4 GiB are mapped 1:1 in 2 MiB pages for the kernel, and once more at
 * USER_ALIAS for user mode. CPU n has the stack that ends at stacks + (n + 1) * STACK_SIZE.
 */
#include "layout.h"

	.section .note, "a", @note
	.align 4
	.long 4, 4, 18		/* XEN_ELFNOTE_PHYS32_ENTRY [PVH] */
	.asciz "Xen"
	.long _start

	.text
	.code32
	.globl _start
_start:
	cli
	cld
	movl $stacks + STACK_SIZE, %esp
	movl %ebx, boot_info
	call make_tables
	call enter_long
	ljmp $SEL_CODE, $1f
	.code64
1:	call load_segments
	leaq stacks + STACK_SIZE(%rip), %rsp
	call boot_main
2:	hlt
	jmp 2b

	.code32
make_tables:
	movl $pdpt + 3, pml4
	movl $pdpt_user + 7, pml4 + 8	/* 512 GiB: USER_ALIAS */
	xorl %ecx, %ecx
1:	movl %ecx, %eax
	shll $12, %eax
	leal pd + 3(%eax), %edx
	movl %edx, pdpt(,%ecx,8)
	leal pd_user + 7(%eax), %edx
	movl %edx, pdpt_user(,%ecx,8)
	incl %ecx
	cmpl $4, %ecx
	jb 1b
	xorl %ecx, %ecx
2:	movl %ecx, %eax
	shll $21, %eax
	orl $0x83, %eax
	movl %eax, pd(,%ecx,8)
	orl $0x87, %eax
	movl %eax, pd_user(,%ecx,8)
	incl %ecx
	cmpl $2048, %ecx
	jb 2b
	ret

enter_long:
	movl $pml4, %eax
	movl %eax, %cr3
	movl $0x620, %eax	/* PAE, OSFXSR, OSXMMEXCPT */
	movl %eax, %cr4
	movl $0xc0000080, %ecx
	rdmsr
	orl $0x900, %eax	/* LME, NXE */
	wrmsr
	movl %cr0, %eax
	andl $~0x60000000, %eax
	orl $0x80010033, %eax	/* PG, WP, NE, ET, MP, PE */
	movl %eax, %cr0
	lgdt gdt_ptr
	ret

	.code64
load_segments:
	movl $SEL_DATA, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %ss
	movl %eax, %fs
	movl %eax, %gs
	ret

/* -- interrupts: struct frame, then trap(frame) ------------------------------------------ */

	.altmacro
	.macro entry n
	.align 16
	.if \n == 8 || (\n >= 10 && \n <= 14) || \n == 17 || \n == 21
	.else
	pushq $0
	.endif
	pushq $\n
	jmp common
	.endm

	.align 16
	.globl entries
entries:
	.set i, 0
	.rept 256
	entry %i
	.set i, i + 1
	.endr

common:	pushq %rax
	pushq %rcx
	pushq %rdx
	pushq %rbx
	pushq %rbp
	pushq %rsi
	pushq %rdi
	pushq %r8
	pushq %r9
	pushq %r10
	pushq %r11
	pushq %r12
	pushq %r13
	pushq %r14
	pushq %r15
	cld
	movq %rsp, %rdi
	movq %rsp, %rbp
	andq $-16, %rsp
	call trap
	movq %rbp, %rsp
	popq %r15
	popq %r14
	popq %r13
	popq %r12
	popq %r11
	popq %r10
	popq %r9
	popq %r8
	popq %rdi
	popq %rsi
	popq %rbp
	popq %rbx
	popq %rdx
	popq %rcx
	popq %rax
	addq $16, %rsp
	iretq

/* -- user mode: user_call(fn) runs fn at its alias in ring 3 until it makes INT 80h ------- */

	.globl user_call, user_back
user_call:
	pushq %rbx
	pushq %rbp
	pushq %r12
	pushq %r13
	pushq %r14
	pushq %r15
	movq %rsp, user_rsp(%rip)
	movabsq $USER_ALIAS, %rax
	addq %rax, %rdi
	leaq user_stack_end(%rip), %rcx
	addq %rax, %rcx
	pushq $SEL_UDATA
	pushq %rcx
	pushq $2
	pushq $SEL_UCODE
	pushq %rdi
	iretq
user_back:	/* in ring 0, from trap() */
	movq user_rsp(%rip), %rsp
	popq %r15
	popq %r14
	popq %r13
	popq %r12
	popq %rbp
	popq %rbx
	ret

/* -- other CPUs: copied to AP_START, entered in real mode ---------------------------------- */

	.globl ap_code, ap_code_end
	.code16
ap_code:
	cli
	movw %cs, %ax
	movw %ax, %ds
	lgdtl ap_gdt - ap_code
	movl %cr0, %eax
	orb $1, %al
	movl %eax, %cr0
	ljmpl $SEL_CODE32, $ap_32
ap_gdt:	.word gdt_end - gdt - 1
	.long gdt
ap_code_end:

	.code32
ap_32:	movl $SEL_DATA, %eax
	movl %eax, %ds
	movl %eax, %ss
	movl $ap_stack, %esp
1:	lock btsl $0, ap_lock	/* one at a time on this stack */
	jc 1b
	call enter_long
	ljmp $SEL_CODE, $1f
	.code64
1:	call load_segments
	movl $1, %eax
	cpuid
	shrl $24, %ebx
	incl %ebx
	shll $STACK_SHIFT, %ebx
	leaq stacks(%rip), %rsp
	addq %rbx, %rsp
	movl $0, ap_lock(%rip)
	call ap_main
2:	hlt
	jmp 2b

/* -- data ------------------------------------------------------------------------------------ */

	.data
	.align 16
	.globl gdt
gdt:	.quad 0
	.quad 0x00af9b000000ffff	/* SEL_CODE: 64-bit */
	.quad 0x00cf93000000ffff	/* SEL_DATA */
	.quad 0x00cf9b000000ffff	/* SEL_CODE32 */
	.quad 0x00cff3000000ffff	/* SEL_UDATA, after a 32-bit user code slot as SYSRET wants */
	.quad 0x00affb000000ffff	/* SEL_UCODE */
	.globl gdt_spare
gdt_spare:
	.quad 0				/* SEL_SPARE */
	.globl gdt_tss
gdt_tss:
	.fill MAX_CPUS * 2, 8, 0	/* SEL_TSS, one per CPU */
gdt_end:
	.globl gdt_ptr
gdt_ptr:
	.word gdt_end - gdt - 1
	.quad gdt
	.globl boot_info
boot_info:
	.quad 0
user_rsp:
	.quad 0
ap_lock:
	.long 0

	.bss
	.align 4096
	.globl pml4, pdpt, pd
pml4:	.skip 4096
pdpt:	.skip 4096
pdpt_user: .skip 4096
pd:	.skip 4 * 4096
pd_user: .skip 4 * 4096
	.globl stacks
stacks:	.skip MAX_CPUS * STACK_SIZE
user_stack: .skip 8192
user_stack_end:
	.skip 256
ap_stack:
	.section .note.GNU-stack, "", @progbits
