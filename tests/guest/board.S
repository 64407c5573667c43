// SPDX-License-Identifier: Apache-2.0
/*
 * board.S - a Multiboot 1 guest of a few bytes: does what the first letter of its
 * command line says, after printing the command line and its first module on COM1
 *
 *	d  isa-debug-exit with 21 (status 43)	o  ACPI power-off
 *	t  triple fault				p  pvpanic
 *	c  reset by port 0xcf9, k  by the keyboard controller, a  by port 0x92: then,
 *	   the second time round, isa-debug-exit with 5 (status 11)
 *	h  halt for ever
 */
	.code32
	.section .text
	.globl _start
	.align 4
	.long 0x1badb002, 3, -(0x1badb002 + 3)

	.equ MARK_AT, 0x50000	/* survives a reset: RAM does */
	.equ MARK, 0x5ca1ab1e

_start:
	movl $stack_top, %esp
	cmpl $0x2badb002, %eax
	jne triple
	movl %ebx, %ebp
	call args
	call print
	testl $8, (%ebp)	/* modules? */
	jz 1f
	movl 24(%ebp), %ecx	/* mods_addr */
	movl (%ecx), %esi
	call print
1:	call args
	movb (%esi), %al
	cmpb $'d', %al
	je debug_exit
	cmpb $'o', %al
	je power_off
	cmpb $'t', %al
	je triple
	cmpb $'p', %al
	je panic
	cmpb $'h', %al
	je halt
	cmpl $MARK, MARK_AT
	je second
	movl $MARK, MARK_AT
	cmpb $'c', %al
	je reset_cf9
	cmpb $'k', %al
	je reset_kbc
	cmpb $'a', %al
	je reset_92
halt:	cli
	hlt
	jmp halt

second:	movl $5, %eax
	outl %eax, $0xf4
	jmp halt
debug_exit:
	movl $21, %eax
	outl %eax, $0xf4
	jmp halt
power_off:
	movw $0x604, %dx
	movw $0x3400, %ax	/* SLP_TYP 5, SLP_EN */
	outw %ax, %dx
	jmp halt
panic:	movw $0x505, %dx
	movb $1, %al
	outb %al, %dx
	jmp halt
reset_cf9:
	movw $0xcf9, %dx
	movb $6, %al
	outb %al, %dx
	jmp halt
reset_kbc:
	movb $0xfe, %al
	outb %al, $0x64
	jmp halt
reset_92:
	movb $1, %al
	outb %al, $0x92
	jmp halt
triple:	lidt no_idt
	ud2

/* %esi: the command line behind its first word, the image's name. */
args:
	movl 16(%ebp), %esi
1:	lodsb
	cmpb $' ', %al
	jne 1b
	ret

/* Print the string at %esi and a newline. */
print:	movw $0x3f8, %dx
1:	lodsb
	testb %al, %al
	jz 2f
	outb %al, %dx
	jmp 1b
2:	movb $'\n', %al
	outb %al, %dx
	ret

	.align 4
no_idt:	.word 0
	.long 0
	.bss
	.align 16
	.skip 4096
stack_top:
