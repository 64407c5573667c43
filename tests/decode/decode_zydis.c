// SPDX-License-Identifier: Apache-2.0
/*
 * decode_zydis.c - compare our decoder with Zydis over the .text of programs
 *
 * decode-zydis FILE...: decodes every executable section of each ELF file with
 * both, instruction by instruction, and compares length, validity, and for
 * memory operands the size and direction. Prints the first differences of each
 * file; ends with "N passed, N failed, N skipped" counting files.
 *
 * Known and intended differences: instructions we do not offer (CPUID hides
 * them) decode as #UD here: SSE4A, 3DNow!, TSX, CET, MPX, XSAVES and the
 * like. They count as agreeing if the length does.
 */
#include "base/compiler.h"
#include "cpu/soft/insn.h"

#include <Zydis/Zydis.h>
#include <cpuid.h>
#include <elf.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static ZydisDecoder decoder;
static unsigned long nr_insns, nr_hidden;

/* Whole families by the name of the instruction set. */
static bool has_prefix(const char *isa_set)
{
	static const char *const family[] = { "AVX512", "FMA4", "PADLOCK", "XOP", "TBM", "LWP" };

	for (unsigned k = 0; k < array_len(family); k++)
		if (!strncmp(isa_set, family[k], strlen(family[k])))
			return true;
	return false;
}

/* Not offered to guests: ours is #UD by policy. */
static bool is_hidden(const ZydisDecodedInstruction *z)
{
	switch (z->meta.isa_set) {
	case ZYDIS_ISA_SET_SSE4A:
	case ZYDIS_ISA_SET_AMD3DNOW:
	case ZYDIS_ISA_SET_RTM:
	case ZYDIS_ISA_SET_CET:
	case ZYDIS_ISA_SET_XSAVES:
	case ZYDIS_ISA_SET_MPX:
	case ZYDIS_ISA_SET_SGX:
	case ZYDIS_ISA_SET_VTX:
	case ZYDIS_ISA_SET_AMX_BF16:
	case ZYDIS_ISA_SET_WAITPKG:
	case ZYDIS_ISA_SET_MOVDIR:
	case ZYDIS_ISA_SET_PKU:
	case ZYDIS_ISA_SET_RDPRU:
	case ZYDIS_ISA_SET_MONITOR:
	case ZYDIS_ISA_SET_MONITORX:
	case ZYDIS_ISA_SET_CLZERO:
		return true;
	default:
		return has_prefix(ZydisISASetGetString(z->meta.isa_set)) ||
		       z->encoding == ZYDIS_INSTRUCTION_ENCODING_EVEX ||
		       z->encoding == ZYDIS_INSTRUCTION_ENCODING_XOP ||
		       z->encoding == ZYDIS_INSTRUCTION_ENCODING_3DNOW ||
		       z->encoding == ZYDIS_INSTRUCTION_ENCODING_MVEX ||
		       z->mnemonic == ZYDIS_MNEMONIC_JKZD || z->mnemonic == ZYDIS_MNEMONIC_JKNZD ||
		       z->mnemonic == ZYDIS_MNEMONIC_UD0 || z->mnemonic == ZYDIS_MNEMONIC_UD1 ||
		       z->mnemonic == ZYDIS_MNEMONIC_UD2;
	}
}

/* Zydis's explicit memory operand, or NULL. */
static const ZydisDecodedOperand *mem_operand(const ZydisDecodedInstruction *z,
					      const ZydisDecodedOperand *o)
{
	for (unsigned k = 0; k < z->operand_count_visible; k++)
		if (o[k].type == ZYDIS_OPERAND_TYPE_MEMORY &&
		    o[k].mem.type == ZYDIS_MEMOP_TYPE_MEM)
			return &o[k];
	return NULL;
}

static const char *compare_mem(const struct insn *i, const ZydisDecodedInstruction *z,
			       const ZydisDecodedOperand *o)
{
	const ZydisDecodedOperand *m = mem_operand(z, o);
	bool rd, wr;

	if (!m || !i->is_mem || !i->mem_size || (i->cls != CLS_INT && i->cls != CLS_VEC))
		return NULL;
	if (i->attr & IA_STRING || i->vsib)
		return NULL;
	if (i->attr & IA_BRANCH && i->opsz) /* 16 bits on AMD, which Zydis does not model */
		return NULL;
	if (m->size / 8 != i->mem_size)
		return "memory size";
	rd = m->actions & ZYDIS_OPERAND_ACTION_MASK_READ;
	wr = m->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE;
	if (rd != !!(i->rm_acc & OP_R) && !(i->op == 0xb0 || i->op == 0xb1))
		return "memory read";
	if (wr != !!(i->rm_acc & OP_W))
		return "memory write";
	return NULL;
}

static const char *compare(const struct insn *i, bool ok, const ZydisDecodedInstruction *z,
			   const ZydisDecodedOperand *o)
{
	if (!ok)
		return "wants more bytes";
	if (is_hidden(z)) {
		nr_hidden++;
		return i->cls == CLS_UD || i->len == z->length ? NULL : "length";
	}
	if (i->cls == CLS_UD)
		return "#UD";
	if (i->len != z->length)
		return "length";
	return compare_mem(i, z, o);
}

static unsigned report(const char *file, const char *what, const u8 *p, const struct insn *i,
		       const ZydisDecodedInstruction *z, const ZydisDecodedOperand *o)
{
	ZydisFormatter f;
	char text[128];

	ZydisFormatterInit(&f, ZYDIS_FORMATTER_STYLE_INTEL);
	ZydisFormatterFormatInstruction(&f, z, o, z->operand_count_visible, text, sizeof text, 0, NULL);
	printf("%s: %s: ours len %u size %u acc %u; zydis len %u: %s |", file, what, i->len,
	       i->mem_size, i->rm_acc, z->length, text);
	for (unsigned k = 0; k < z->length; k++)
		printf(" %02x", p[k]);
	printf("\n");
	return 1;
}

static unsigned check_text(const char *file, const u8 *p, size_t len)
{
	unsigned nr_bad = 0;

	for (size_t at = 0; at < len;) {
		ZydisDecodedInstruction z;
		ZydisDecodedOperand o[ZYDIS_MAX_OPERAND_COUNT];
		struct insn i;
		const char *what;
		bool ok;

		if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder, p + at, len - at, &z, o))) {
			at++;
			continue;
		}
		nr_insns++;
		ok = insn_decode(&i, p + at, (unsigned)(len - at < 15 ? len - at : 15), 8);
		what = compare(&i, ok, &z, o);
		if (what && nr_bad++ < 5)
			report(file, what, p + at, &i, &z, o);
		at += z.length;
	}
	return nr_bad;
}

/* Returns differences, or -1 if the file is not a 64-bit x86 ELF file. */
static int check_file(const char *file)
{
	int fd = open(file, O_RDONLY | O_CLOEXEC), bad = 0;
	struct stat st;
	const u8 *p;
	const Elf64_Ehdr *eh;

	if (fd < 0 || fstat(fd, &st) < 0 || st.st_size < 4096)
		return -1;
	p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	close(fd);
	eh = (const void *)p;
	if (p == MAP_FAILED || memcmp(p, ELFMAG, 4) || eh->e_machine != EM_X86_64 || !eh->e_shnum)
		return -1;
	for (unsigned k = 0; k < eh->e_shnum; k++) {
		const Elf64_Shdr *sh = (const void *)(p + eh->e_shoff + k * sizeof *sh);

		if (sh->sh_type == SHT_PROGBITS && sh->sh_flags & SHF_EXECINSTR)
			bad += (int)check_text(file, p + sh->sh_offset, sh->sh_size);
	}
	munmap((void *)(uintptr_t)p, (size_t)st.st_size);
	return bad;
}

int main(int argc, char **argv)
{
	unsigned nr_passed = 0, nr_failed = 0, nr_skipped = 0;

	u32 a, b, c, d;

	__cpuid(0, a, b, c, d);
	ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
	/* 66h on near branches: the guest follows the host's vendor. */
	ZydisDecoderEnableMode(&decoder, ZYDIS_DECODER_MODE_AMD_BRANCHES, b == 0x68747541);
	for (int k = 1; k < argc; k++) {
		int bad = check_file(argv[k]);

		if (bad < 0)
			nr_skipped++;
		else if (bad)
			nr_failed++;
		else
			nr_passed++;
	}
	printf("%lu instructions, %lu of them not offered to guests\n", nr_insns, nr_hidden);
	printf("%u passed, %u failed, %u skipped\n", nr_passed, nr_failed, nr_skipped);
	return nr_failed || !nr_passed;
}
